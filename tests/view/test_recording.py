"""A session in a file: read by the commands as a backend's is, and never believed."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.errors import RecordingError
from ptyshipper.records import GapCause, Kind, Record, encode, gap, resized
from ptyshipper.view.recording import RecordingFile
from ptyshipper.wire import recording
from tests.support.patience import until
from tests.support.reading import command, environment, read
from tests.support.server import Server, Shipper, describe, exit_record, output, start_record

ID = bytes(range(16))
RECORDS = (
    start_record(100, 30)
    + output(b"\x1b[31mred\xc3", Kind.TTY, 1_000)
    + output(b"\xa9\r\n", Kind.TTY, 2_000)
    + encode(Kind.RESIZED, 3_000, resized(120, 40))
    + output(b"more\r\n", Kind.TTY, 3_500)
    + exit_record(0, 15, 4_000)
)
HEADER = recording.header(ID, describe(tty=True), {})


def written(path: Path, records: bytes = RECORDS) -> Path:
    path.write_bytes(HEADER + records)
    return path


def test_the_commands_give_of_a_file_what_they_give_of_a_backend(
    server: Server, tmp_path: Path
) -> None:
    """The same records, shipped and in a file."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(RECORDS)
    shipper.socket.close()
    path = written(tmp_path / "a.rec")
    calls = [
        *(f"export(D, {{}}, format={form!r}, out=sys.stdout.buffer)"
          for form in ("cast", "cast2", "text", "jsonl")),
        "logs(D, {})", "logs(D, {}, raw=True)", "logs(D, {}, as_json=True)", "logs(D, {}, follow=True)",
    ]  # fmt: skip
    for call in calls:
        of_file, of_backend = (
            read(call.format(repr(which)), server.data_dir)
            for which in (str(path), shipper.session_id.hex())
        )
        assert (of_file.returncode, of_file.stdout) == (0, of_backend.stdout), of_file.stderr
        assert of_file.stdout


def test_the_summary_is_the_backends(server: Server, tmp_path: Path) -> None:
    """In all that a file can tell of."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    lost = encode(Kind.GAP, 3_700, gap(500, 400, GapCause.OVERFLOW))
    records = RECORDS[: -len(exit_record())] + lost + exit_record(0, 15, 4_000)
    shipper.send(RECORDS[: -len(exit_record())] + lost)
    shipper.offset += 500 - len(lost)
    shipper.send(exit_record(0, 15, 4_000))
    shipper.wait_acknowledged()
    shipper.socket.close()
    of_backend = server.get(f"/api/sessions/{shipper.session_id.hex()}")[1]
    of_file = RecordingFile(written(tmp_path / "a.rec", records)).session
    assert of_file.keys() == of_backend.keys() - {"entries"}
    differing = {name for name in of_file if of_file[name] != of_backend[name]}
    assert differing == {"id", "app_id", "deployment_id"} & differing


def test_one_that_was_cut_off_reads_to_its_last_whole_record(tmp_path: Path) -> None:
    """Wherever it was cut; and says so."""
    for end in range(len(RECORDS) + 1):
        source = RecordingFile(written(tmp_path / "a.rec", RECORDS[:end]))
        *records, session = source.records()
        sizes = [record.size for record in records if isinstance(record, Record)]
        assert sum(sizes) <= end < sum(sizes) + 40
        assert isinstance(session, dict)
        whole = end == len(RECORDS)
        assert session["state"] == ("exited" if whole else "cut")
        assert bool(source.notice) is not whole


def test_a_command_says_that_it_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rec", RECORDS[:-3])
    done = read(f"logs(D, {str(path)!r})", tmp_path)
    assert (done.returncode, done.stdout) == (0, "redé\nmore\n".encode())
    assert done.stderr.decode().startswith(f"ptyshipper: {path} was cut off")


@given(data=st.data())
def test_no_file_is_more_than_an_error_in_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes changed, taken out, put in: what is read are records, or it is refused."""
    content = bytearray(HEADER + RECORDS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "fuzzed.rec"
    path.write_bytes(content)
    said = str(path)
    try:
        assert all(isinstance(item, Record | dict) for item in RecordingFile(path).records())
    except RecordingError as error:
        said = str(error)
    assert "\n" not in said
    assert str(path) in said


def test_damage_is_named_with_its_place(tmp_path: Path) -> None:
    at = len(start_record()) + len(output(b"\x1b[31mred\xc3", Kind.TTY))
    content = bytearray(RECORDS)
    content[at + 18] ^= 1
    path = written(tmp_path / "a.rec", bytes(content))
    done = read(f"logs(D, {str(path)!r})", tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"ptyshipper: {path} is damaged at byte {len(HEADER) + at}; what follows can't be read\n"
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"PTYRE"), "ends within its header"),
        (lambda path: path.write_text("a text"), "no recording"),
        (lambda path: path.write_bytes(recording.header(ID, {}, {})), "deployment_id"),
        (lambda path: path.mkdir(), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda path: None, "No such file"),
    ],
    ids=["short", "other", "empty description", "directory", "pipe", "missing"],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, make: object, said: str) -> None:
    path = tmp_path / "a.rec"
    assert callable(make)
    make(path)
    done = read(f"export(D, {str(path)!r}, format='text', out=sys.stdout.buffer)", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert said in done.stderr.decode()


def test_it_is_followed_while_it_is_written(tmp_path: Path) -> None:
    """And left when its writer has died, with or without the program's end."""
    path = written(tmp_path / "a.rec", start_record())
    writer = os.open(path, os.O_WRONLY | os.O_APPEND)
    fcntl.flock(writer, fcntl.LOCK_EX)
    assert RecordingFile(path).session["state"] == "running"
    out = tmp_path / "out"
    with out.open("wb") as stdout:
        reader = subprocess.Popen(
            command(f"logs(D, {str(path)!r}, follow=True)", tmp_path),
            env=environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    whole = output(b"first\n") + output(b"second\n")
    os.write(writer, whole[:-4])
    until(lambda: out.read_bytes() == b"first\n", "the first line is shown")
    os.write(writer, whole[-4:])
    until(lambda: out.read_bytes() == b"first\nsecond\n", "the second line is shown")
    assert reader.poll() is None
    os.close(writer)
    assert b"was cut off" in reader.communicate(timeout=20)[1]
    assert reader.returncode == 0


def test_its_path_may_look_like_an_id_or_not_be_there(tmp_path: Path) -> None:
    """A name without a slash is a file where there is one, else a session of the backend's."""
    written(tmp_path / "latest")
    words = [sys.executable, "-m", "ptyshipper", "logs", "--json", "latest"]
    environ = environment() | {"PTYSHIPPER_DATA": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, timeout=30)
    assert json.loads(done.stdout.splitlines()[0])["text"] == "\x1b[31mredé\r"
    done = subprocess.run(words, cwd="/", env=environ, capture_output=True, timeout=30)
    assert b"no backend runs" in done.stderr
