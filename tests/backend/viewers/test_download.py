"""A session to take away over HTTP: what ``ptyshipper export`` writes."""

from __future__ import annotations

import json
import os

import pytest

from ptyshipper.records import Kind, encode, resized
from tests.support.emulator import Emulator
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


def events_of(cast: bytes) -> list[tuple[float, str, str]]:
    return [tuple(json.loads(line)) for line in cast.splitlines()[1:]]


@pytest.mark.parametrize("form", ["cast", "cast2"])
def test_end_of_a_cast_begins_with_the_screen(server: Server, form: str) -> None:
    """What was drawn long before is there, in the window's size, at the time at which it was."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record() + encode(Kind.RESIZED, 5, resized(90, 20)))
    drawn = b"$ top\r\n\x1b[?1049h\x1b[H\x1b[2JTITLE"
    shipper.ship(output(drawn, Kind.TTY))
    for second in range(60):
        frame = b"".join(b"\x1b[2;1Hframe %d.%d\x1b[K" % (second, at) for at in range(2_000))
        shipper.ship(output(frame, Kind.TTY, second * 1_000_000))
    shipper.ship(exit_record(3, 0, 60_000_000))
    shipper.socket.close()
    path = f"/api/sessions/{shipper.session_id.hex()}/download?format={form}"
    with asked(server, path) as answer:
        whole = answer.response.read()
    with asked(server, f"{path}&last=100000") as answer:
        end = answer.response.read()
    assert len(end) < len(whole) * 0.6
    (at_s, code, data), *rest = events_of(end)
    assert (code, data) == ("r", "90x20")
    assert at_s > 5
    late, there = Emulator(90, 20), Emulator(90, 20)
    for _, each, text in rest:
        if each == "o":
            late.feed(text)
    there.feed(drawn.decode() + frame.decode())
    assert late.cells() == there.cells()
    assert "TITLE" in rest[0][2]
    assert rest[-1][1:] == ("x", "3")
    times = [at for at, _, _ in events_of(end)]
    assert (sum(times) if form == "cast" else times[-1]) == pytest.approx(60, abs=0.01)


def test_end_of_lines_is_theirs(server: Server, session: str) -> None:
    """No screen comes before them; of less than is asked for, all."""
    path = f"/api/sessions/{session}/download?format=text"
    with asked(server, path) as answer:
        whole = answer.response.read()
    for last in (1, 10**12):
        with asked(server, f"{path}&last={last}") as answer:
            end = answer.response.read()
        assert whole.endswith(end)
        assert (end == whole) == (last == 10**12)
    with asked(server, f"{path}&last=0") as answer:
        assert answer.status == 400


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
