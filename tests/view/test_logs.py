"""``logs``: lines, JSON, exact bytes, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode
from tests.support.reading import command, environment, read
from tests.support.server import Server, Shipper, exit_record, output, start_record

GAP = encode(Kind.GAP, 3_000, records.gap(4_096, 4_000, GapCause.OVERFLOW))
RANDOM = os.urandom(300_000)


def shipped(server: Server, *parts: bytes) -> str:
    shipper = Shipper(server, os.urandom(16))
    for part in parts:
        shipper.ship(part)
    shipper.socket.close()
    return shipper.session_id.hex()


@pytest.fixture
def mixed(server: Server) -> str:
    """Two streams, a line in pieces, no newline at the end."""
    return shipped(
        server,
        start_record() + output(b"one\nt", time_us=1_000),
        output(b"error \xff\n", Kind.STDERR, 2_000)
        + output(b"wo\nend", time_us=3_000)
        + exit_record(),
    )


def test_lines_in_order(server: Server, mixed: str) -> None:
    done = read(f"logs(D, {mixed!r})", server.data_dir)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "one\nerror \ufffd\ntwo\nend\n"


def test_prefix_and_latest_name_a_session(server: Server, mixed: str) -> None:
    """``latest`` is the one that came last, whatever its shipper's clock says."""
    assert read(f"logs(D, {mixed[:6]!r})", server.data_dir).stdout.startswith(b"one\n")
    latest = Shipper(server, os.urandom(16), started_at_us=1_000_000)
    latest.ship(output(b"newest\n") + exit_record())
    latest.socket.close()
    assert read("logs(D, 'latest')", server.data_dir).stdout == b"newest\n"


@pytest.mark.parametrize("wanted", ["fff", "0" * 32, "nonsense", "", "0000"])
def test_session_that_is_none_is_told_in_one_line(server: Server, wanted: str) -> None:
    done = read(f"logs(D, {wanted!r})", server.data_dir)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"ptyshipper: ")
    assert done.stderr.count(b"\n") == 1


def test_one_stream_with_timestamps(server: Server, mixed: str) -> None:
    done = read(f"logs(D, {mixed!r}, stream='stdout', timestamps=True)", server.data_dir)
    assert done.stdout.decode().splitlines() == [
        "2023-11-14T22:13:20.001Z one",
        "2023-11-14T22:13:20.001Z two",
        "2023-11-14T22:13:20.003Z end",
    ]


def test_json_is_an_object_a_line(server: Server, mixed: str) -> None:
    done = read(f"logs(D, {mixed!r}, as_json=True)", server.data_dir)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[1] == {
        "time": "2023-11-14T22:13:20.002Z",
        "stream": "stderr",
        "text": "error \ufffd",
        "complete": True,
    }
    assert found[-1]["complete"] is False


def test_raw_is_the_programs_bytes(server: Server) -> None:
    """NUL, invalid UTF-8, escapes, no newline: every byte, of one stream or of all."""
    pieces = [RANDOM[at : at + 60_000] for at in range(0, len(RANDOM), 60_000)]
    session = shipped(
        server, *(output(piece) for piece in pieces), output(b"\x00\xff", Kind.STDERR)
    )
    assert (
        read(f"logs(D, {session!r}, raw=True, stream='stdout')", server.data_dir).stdout == RANDOM
    )
    everything = read(f"logs(D, {session!r}, raw=True)", server.data_dir)
    assert (everything.returncode, everything.stdout) == (0, RANDOM + b"\x00\xff")


def test_gap_is_shown_where_it_is(server: Server) -> None:
    """As a line of its own, as an object; raw bytes stay exact, and the status tells."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"before\n"))
    shipper.send(GAP)
    shipper.offset += 4_096 - len(GAP)
    shipper.wait_acknowledged()
    shipper.ship(output(b"after\n") + exit_record())
    shipper.socket.close()
    session = shipper.session_id.hex()
    lines = read(f"logs(D, {session!r})", server.data_dir).stdout
    assert lines == b"before\n--- 4000 bytes lost: the spool was full ---\nafter\n"
    objects = read(f"logs(D, {session!r}, as_json=True)", server.data_dir).stdout.splitlines()
    assert json.loads(objects[1])["lost"] == {"bytes": 4_000, "cause": "the spool was full"}
    raw = read(f"logs(D, {session!r}, raw=True)", server.data_dir)
    assert (raw.returncode, raw.stdout) == (1, b"before\nafter\n")
    assert raw.stderr == b"ptyshipper: 4000 bytes lost: the spool was full\n"


def test_follow_shows_lines_as_they_come_and_ends_with_the_session(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"first\n"))
    call = f"logs(D, {shipper.session_id.hex()!r}, follow=True)"
    with subprocess.Popen(
        command(call, server.data_dir), env=environment(), stdout=subprocess.PIPE
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"first\n"
        shipper.ship(output(b"second\n"))
        assert following.stdout.readline() == b"second\n"
        shipper.ship(output(b"last") + exit_record())
        assert following.stdout.read() == b"last\n"
        assert following.wait(10) == 0
    shipper.socket.close()


def test_follow_copies_raw_bytes_as_they_come(server: Server) -> None:
    """A prompt has no newline, and is shown all the same."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"prompt> "))
    call = f"logs(D, {shipper.session_id.hex()!r}, follow=True, raw=True)"
    with subprocess.Popen(
        command(call, server.data_dir), env=environment(), stdout=subprocess.PIPE
    ) as following:
        assert following.stdout is not None
        assert following.stdout.read(8) == b"prompt> "
        shipper.ship(exit_record())
        assert following.wait(10) == 0
    shipper.socket.close()


def test_closed_pipe_ends_it_silently(server: Server) -> None:
    """As ``| head -1`` does, in the middle of much output."""
    session = shipped(server, *[output(b"line\n" * 10_000)] * 20)
    with subprocess.Popen(
        command(f"logs(D, {session!r})", server.data_dir),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        assert piped.stdout.readline() == b"line\n"
        piped.stdout.close()
        assert piped.stderr.read() == b""
        assert piped.wait(10) == 141


def test_hostile_output_does_not_reach_a_terminal(server: Server) -> None:
    """Nor a pipe, whose other end may be one's pager: ``--raw`` has the bytes."""
    session = shipped(
        server, output(b"\x1b[31mred\x1b[0m \x1b]52;c;eA==\x07\x1b[6n\x05x\n") + exit_record()
    )
    master, slave = pty.openpty()
    done = subprocess.run(
        command(f"logs(D, {session!r})", server.data_dir),
        env=environment(),
        stdout=slave,
        timeout=20,
    )
    os.close(slave)
    shown = os.read(master, 4_096)
    os.close(master)
    assert done.returncode == 0
    assert shown == b"\x1b[31mred\x1b[0m ^Ex\x1b[0m\r\n"
    assert read(f"logs(D, {session!r})", server.data_dir).stdout == b"red ^Ex\n"
    raw = read(f"logs(D, {session!r}, raw=True)", server.data_dir).stdout
    assert raw.startswith(b"\x1b[31mred")


def test_line_that_was_written_over_is_as_its_terminal_showed_it(server: Server) -> None:
    """What wrote to a pipe may mean its returns; they are shown."""
    session = shipped(
        server,
        output(b"important data\rX\r\n", Kind.TTY)
        + output(b"a\rb\r\n", Kind.STDOUT)
        + exit_record(),
    )
    done = read(f"logs(D, {session!r})", server.data_dir)
    assert done.stdout == b"Xmportant data\na^Mb\n"
    exported = read(
        f"export(D, {session!r}, format='text', out=sys.stdout.buffer)", server.data_dir
    )
    assert exported.stdout == done.stdout


def test_json_has_no_control_character(server: Server) -> None:
    """U+009B begins a sequence on many terminals, and JSON does not ask to have it escaped."""
    session = shipped(server, output("\x9b31m\x7f\u202e\n".encode(), Kind.TTY) + exit_record())
    shown = read(f"logs(D, {session!r}, as_json=True)", server.data_dir).stdout
    assert rb"\u009b31m\u007f\u202e" in shown
    cast = read(
        f"export(D, {session!r}, format='cast', out=sys.stdout.buffer)", server.data_dir
    ).stdout
    assert rb"\u009b31m\u007f\u202e" in cast
