"""A session to take away over HTTP: what ``ptyshipper export`` writes."""

from __future__ import annotations

import os

import pytest

from ptyshipper.records import Kind
from tests.support.reading import read
from tests.support.server import Server, Shipper, exit_record, output, start_record
from tests.support.streams import asked


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    shipper = Shipper(server, os.urandom(16), tty=True, command=["sh", "-c", "\udcff\r\nx: y"])
    shipper.ship(start_record(100, 30))
    for number in range(40):
        shipper.ship(output(b"%d%%\r\x1b[31mdone \xe2\x82" % number, Kind.TTY, number * 10_000))
        shipper.ship(output(b"\xac\r\n" * 900, Kind.TTY, number * 10_000 + 5) + output(b"a\nb"))
    shipper.ship(exit_record(3))
    shipper.socket.close()
    return shipper.session_id.hex()


@pytest.mark.parametrize(
    ("name", "suffix", "media_type"),
    [
        ("cast", "cast", "application/x-asciicast"),
        ("cast2", "cast", "application/x-asciicast"),
        ("text", "txt", "text/plain; charset=utf-8"),
        ("jsonl", "jsonl", "application/jsonl"),
    ],
)
def test_is_what_export_writes(
    server: Server, session: str, name: str, suffix: str, media_type: str
) -> None:
    """Byte for byte, with a name that is safe whatever the command was."""
    exported = read(
        f"export(D, {session!r}, format={name!r}, out=sys.stdout.buffer)", server.data_dir
    )
    with asked(server, f"/api/sessions/{session}/download?format={name}") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"] == (
            f'attachment; filename="ptyshipper-{session[:12]}.{suffix}"'
        )
        assert answer.response.read() == exported.stdout


def test_session_without_anything(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.socket.close()
    with asked(server, f"/api/sessions/{shipper.session_id.hex()}/download?format=text") as answer:
        assert (answer.status, answer.response.read()) == (200, b"")


@pytest.mark.parametrize("query", ["", "format=gif", "format="])
def test_unknown_form_is_a_bad_request(server: Server, session: str, query: str) -> None:
    assert server.get(f"/api/sessions/{session}/download?{query}")[0] == 400


def test_session_is_asked_for(server: Server) -> None:
    assert server.get(f"/api/sessions/{'0' * 32}/download?format=text")[0] == 404
