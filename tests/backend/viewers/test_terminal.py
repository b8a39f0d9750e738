"""A session's terminal over asciinema's live protocol, as its player asks for it."""

from __future__ import annotations

import os

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode
from tests.support.alis import Event, read_event
from tests.support.emulator import Emulator
from tests.support.server import Server, Shipper, exit_record, output, start_record


def live(server: Server, session_id: bytes, subprotocol: str = "v1.alis") -> ClientConnection:
    path = f"/api/sessions/{session_id.hex()}/live"
    return server.connect(server.state.view_token, subprotocol, path)


def joined(server: Server, session_id: bytes) -> tuple[ClientConnection, Event]:
    """A viewer who has had the magic and the Init."""
    viewer = live(server, session_id)
    assert viewer.recv(10) == b"ALiS\x01"
    return viewer, next_event(viewer)


def next_event(viewer: ClientConnection) -> Event:
    message = viewer.recv(20)
    assert isinstance(message, bytes)
    return read_event(message)


def events_to_the_end(viewer: ClientConnection) -> tuple[list[Event], int]:
    """All that comes, and the close code."""
    found = list[Event]()

    def read() -> None:
        while True:
            found.append(next_event(viewer))

    with pytest.raises(ConnectionClosed) as caught:
        read()
    assert caught.value.rcvd is not None
    return found, caught.value.rcvd.code


def test_viewer_sees_the_screen_then_what_happens(server: Server) -> None:
    """Output as it comes, resizes, markers, the exit; then the end, which a player takes for it."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record(100, 30) + output(b"$ \xe2\x82", Kind.TTY, 3_000_000))
    viewer, init = joined(server, shipper.session_id)
    assert init._replace(us=0) == Event("init", 0, 0, 100, 30, "$ ")
    assert 3_000_000 < init.us < 60_000_000, "as long as it runs: also since its last output"
    shipper.ship(output(b"\xac\r\n", Kind.TTY))
    shipper.ship(encode(Kind.RESIZED, 5, records.resized(600, 0xFFFF)))
    shipper.ship(encode(Kind.SIGNALLED, 6, records.signalled(15)))
    shipper.ship(encode(Kind.GAP, 7, records.gap(33, 30, GapCause.OVERFLOW)))
    shipper.ship(exit_record(0, 9))
    found, code = events_to_the_end(viewer)
    assert [event._replace(us=0) for event in found] == [
        Event("output", 1, 0, text="€\r\n"),
        Event("resize", 2, 0, 500, 200),
        Event("marker", 3, 0, text="SIGTERM sent"),
        Event("marker", 4, 0, text="30 bytes lost: the spool was full"),
        Event("exit", 5, 0, status=137),
        Event("end", None, 0),
    ]
    assert code == 1000
    shipper.socket.close()


def test_session_that_has_ended_is_shown_with_its_exit(server: Server) -> None:
    """Its last screen is in the Init; of pipes, as a terminal would have shown it."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"one\ntwo\n") + exit_record(3))
    shipper.socket.close()
    viewer, init = joined(server, shipper.session_id)
    assert (init.cols, init.rows, init.text) == (80, 24, "one\r\ntwo\r\n")
    found, code = events_to_the_end(viewer)
    assert [(event.kind, event.status) for event in found] == [("exit", 3), ("end", 0)]
    assert code == 1000


def test_long_session_is_joined_at_its_end(server: Server) -> None:
    """Not 20 MB of it; the screen is that of its last lines."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record())
    count = 0
    for _ in range(350):
        lines = b"".join(b"line %d\r\n" % (count + n) for n in range(4_000))
        count += 4_000
        shipper.ship(output(lines[:60_000], Kind.TTY) + output(lines[60_000:] or b"\r", Kind.TTY))
    viewer, init = joined(server, shipper.session_id)
    assert len(init.text) <= 1 << 20
    seen = Emulator(init.cols, init.rows)
    seen.feed(init.text[-20_000:])
    shown = "".join(cell.data for cell in seen.cells()[22]).rstrip()
    assert shown == f"line {count - 1}"
    shipper.ship(output(b"more", Kind.TTY))
    assert next_event(viewer).text == "more"
    viewer.close()
    shipper.socket.close()


def ship_frames(shipper: Shipper, megabytes: int) -> str:
    """A program that writes one row again and again; the last of it."""
    frame = ""
    for number in range(megabytes * 18):
        frame = "".join(f"\x1b[2;1Hframe {number}.{at}\x1b[K" for at in range(2_400))[:60_000]
        shipper.ship(output(frame.encode(), Kind.TTY))
    return frame


def test_what_was_drawn_once_long_ago_is_on_the_screen(server: Server) -> None:
    """The window was resized before, too: neither lies within what is read for a viewer."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record() + encode(Kind.RESIZED, 5, records.resized(90, 20)))
    shipper.ship(output(b"$ top\r\n\x1b[?1049h\x1b[H\x1b[2JTITLE", Kind.TTY))
    last = ship_frames(shipper, 5)
    viewer, init = joined(server, shipper.session_id)
    assert (init.cols, init.rows) == (90, 20)
    assert len(init.text) < (1 << 20) + 70_000
    seen, whole = Emulator(90, 20), Emulator(90, 20)
    seen.feed(init.text)
    whole.feed("\x1b[?1049h\x1b[H\x1b[2JTITLE" + last)
    assert seen.cells() == whole.cells()
    # It is the alternate screen, which it leaves.
    shipper.ship(output(b"\x1b[?1049lback", Kind.TTY))
    seen.feed(next_event(viewer).text)
    assert "TITLE" not in "".join(cell.data for row in seen.cells()[:-1] for cell in row)
    viewer.close()
    shipper.socket.close()


def test_screen_that_was_cleared_of_late_is_known_to_be_the_alternate_one(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record() + output(b"\x1b[?1049hold", Kind.TTY))
    ship_frames(shipper, 5)
    shipper.ship(output(b"\x1b[H\x1b[2Jnew", Kind.TTY))
    viewer, init = joined(server, shipper.session_id)
    assert init.text == "\x1b[?1049h\x1b[H\x1b[2Jnew"
    viewer.close()
    shipper.socket.close()


def test_viewer_who_does_not_read_gets_the_screen_anew(server: Server) -> None:
    """It holds up nobody, and is not sent what is over."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record() + output(b"begin\r\n", Kind.TTY))
    viewer, _ = joined(server, shipper.session_id)
    batch = output(b"x" * 60_000 + b"\r\n", Kind.TTY)
    for _ in range(500):
        shipper.ship(batch)
    shipper.ship(output(b"end\r\n", Kind.TTY) + exit_record())
    found, code = events_to_the_end(viewer)
    inits = [at for at, event in enumerate(found) if event.kind == "init"]
    assert inits, "all of 30 MB was sent"
    seen = "".join(event.text for event in found[inits[-1] :])
    assert seen.endswith("x\r\nend\r\n")
    assert sum(len(event.text) for event in found) < 25_000_000
    assert (found[-1].kind, code) == ("end", 1000)
    shipper.socket.close()


def test_hostile_output_is_text_of_the_protocol(server: Server) -> None:
    """What no UTF-8 is, what asks a terminal, a time beyond all: each event is whole and in bounds."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(
        start_record(0, 0) + output(b"\x1b]52;c;aGk=\x07\xff\xfe\x1b[c", Kind.TTY, 2**63 - 1)
    )
    viewer, init = joined(server, shipper.session_id)
    assert (init.cols, init.rows) == (80, 24)
    assert init.text == "\x1b]52;c;aGk=\x07\ufffd\ufffd\x1b[c"
    shipper.ship(output(os.urandom(65_000), Kind.TTY, 0))
    event = next_event(viewer)
    assert event.kind == "output"
    assert event.us < 60_000_000
    viewer.close()
    shipper.socket.close()


def test_each_byte_is_an_event_of_its_own_in_a_quiet_session(server: Server) -> None:
    """Nothing waits for more to come."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record())
    viewer, _ = joined(server, shipper.session_id)
    for number in range(10):
        shipper.send(output(b"%d" % number, Kind.TTY))
        assert next_event(viewer).text == str(number)
    viewer.close()
    shipper.socket.close()


def test_unknown_session_is_the_end(server: Server) -> None:
    """With a code that a player does not come back after."""
    for wanted in (bytes(16), b"x"):
        assert events_to_the_end(live(server, wanted)) == ([], 4040)


def test_viewer_who_speaks_is_refused(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record())
    viewer, _ = joined(server, shipper.session_id)
    viewer.send(b"i\x01\x00\x01x")
    assert events_to_the_end(viewer)[1] == 4005
    shipper.socket.close()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 403)])
def test_token_is_asked_for(server: Server, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(token, "v1.alis", "/api/sessions/" + "0" * 32 + "/live")
    assert caught.value.response.status_code == status


def test_other_protocols_are_not_spoken(server: Server) -> None:
    viewer = live(server, bytes(16), "v2.asciicast")
    assert events_to_the_end(viewer)[1] == 4406
