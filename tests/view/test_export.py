"""``export``: a session to take away."""

from __future__ import annotations

import json
import os

import pytest

from ptyshipper.records import Kind, encode, resized
from tests.support.reading import read
from tests.support.server import Server, Shipper, exit_record, output, start_record


@pytest.fixture
def session(server: Server) -> str:
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(
        start_record(100, 30)
        + output(b"10%\r100%\r\n\x1b[31mred\xc3", Kind.TTY, 1_000)
        + output(b"\xa9\r\n", Kind.TTY, 2_000)
        + encode(Kind.RESIZED, 3_000, resized(120, 40))
        + exit_record(0, 15, 4_000)
    )
    shipper.socket.close()
    return shipper.session_id.hex()


def test_cast(server: Server, session: str) -> None:
    """The whole of it: the header with the last size, the first size, output, resize, exit."""
    done = read(f"export(D, {session!r}, format='cast', out=sys.stdout.buffer)", server.data_dir)
    assert (done.returncode, done.stderr) == (0, b"")
    header, *events = [json.loads(line) for line in done.stdout.splitlines()]
    assert header["version"] == 3
    assert header["term"] == {"cols": 120, "rows": 40}
    assert events == [
        [0.0, "r", "100x30"],
        [0.001, "o", "10%\r100%\r\n\x1b[31mred"],
        [0.001, "o", "é\r\n"],
        [0.001, "r", "120x40"],
        [0.001, "x", "143"],
    ]


def test_text(server: Server, session: str) -> None:
    """Lines as they were in the end, without colours."""
    done = read(f"export(D, {session!r}, format='text', out=sys.stdout.buffer)", server.data_dir)
    assert done.stdout.decode() == "100%\nredé\n"


def test_jsonl(server: Server, session: str) -> None:
    """What ``logs --json`` prints."""
    done = read(f"export(D, {session!r}, format='jsonl', out=sys.stdout.buffer)", server.data_dir)
    assert done.stdout == read(f"logs(D, {session!r}, as_json=True)", server.data_dir).stdout
    assert len(done.stdout.splitlines()) == 2


def test_unknown_format_is_told(server: Server, session: str) -> None:
    done = read(f"export(D, {session!r}, format='gif', out=sys.stdout.buffer)", server.data_dir)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cast, cast2, text, jsonl" in done.stderr
