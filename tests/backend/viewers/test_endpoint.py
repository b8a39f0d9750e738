"""The viewers' WebSocket: history and live are one sequence, whenever a viewer comes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import ByeReason
from tests.support.operating import metrics_of
from tests.support.patience import until
from tests.support.server import (
    Server,
    Shipper,
    exit_record,
    output,
    read_to_summary,
    running_server,
    start_record,
)


def shipped(server: Server, *parts: bytes) -> bytes:
    """The id of a session that has shipped this."""
    shipper = Shipper(server, os.urandom(16))
    for part in parts:
        shipper.ship(part)
    shipper.socket.close()
    return shipper.session_id


def close_code(connection: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv(15)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def test_viewers_join_at_any_moment_without_gap_or_repetition(server: Server) -> None:
    """Twelve of them come while a busy session runs; each sees all of it, once, in order."""
    session_id = os.urandom(16)
    shipper = Shipper(server, session_id)
    shipper.ship(start_record())
    seen: list[bytes] = []

    def watch() -> None:
        with server.view(session_id, follow=True) as viewer:
            seen.append(read_to_summary(viewer)[0])  # which checks every offset

    viewers, sent = [], start_record()
    for number in range(120):
        if number % 10 == 0:
            viewers.append(threading.Thread(target=watch))
            viewers[-1].start()
        batch = output(f"{number}\n".encode() * (1 if number % 3 else 5_000))
        shipper.send(batch)
        sent += batch
        if number % 7 == 0:
            shipper.wait_acknowledged()
    shipper.wait_acknowledged()
    shipper.ship(exit_record())
    sent += exit_record()
    for viewer in viewers:
        viewer.join(20)
    assert [len(each) for each in seen] == [len(sent)] * 12
    assert all(each == sent for each in seen)
    shipper.socket.close()


def test_viewer_that_does_not_read_holds_up_nobody_and_misses_nothing(server: Server) -> None:
    """A session ships 16 MB past it; then it reads all of them."""
    session_id, batch = os.urandom(16), output(os.urandom(65_000))
    shipper = Shipper(server, session_id)
    shipper.ship(batch)
    slow = server.view(session_id, follow=True)
    begun_s = time.monotonic()
    for _ in range(250):
        shipper.ship(batch)
    assert time.monotonic() - begun_s < 10
    shipper.ship(exit_record())
    assert read_to_summary(slow)[0] == batch * 251 + exit_record()
    shipper.socket.close()


def test_without_follow_ends_at_what_is_stored(server: Server) -> None:
    """Also of a session that runs on."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"x"))
    with server.view(shipper.session_id) as viewer:
        records, summary = read_to_summary(viewer)
        assert records == start_record() + output(b"x")
        assert summary["state"] == "running"
        assert close_code(viewer) == CloseCode.DONE
    shipper.socket.close()


def test_from_begins_at_the_first_record_at_or_behind_it(server: Server) -> None:
    one = output(b"x" * 84)
    session_id = shipped(server, one * 3, one * 2)
    with server.view(session_id, offset=101) as viewer:
        assert read_to_summary(viewer, 200)[0] == one * 3
    with server.view(session_id, offset=500) as viewer:
        assert read_to_summary(viewer, 500)[0] == b""
    with server.view(session_id, offset=messages.MAX_OFFSET) as viewer:
        assert read_to_summary(viewer)[0] == b""


def test_follower_is_told_when_the_session_is_cut(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    with server.view(shipper.session_id, follow=True) as viewer:
        viewer.recv(5)
        shipper.say_goodbye(ByeReason.CUT)
        assert read_to_summary(viewer, len(start_record()))[1]["state"] == "cut"


def test_record_reaches_a_viewer_at_once(server: Server) -> None:
    """In a quiet session, without any batching interval: the median of a few is milliseconds."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    took_s = []
    with server.view(shipper.session_id, follow=True) as viewer:
        viewer.recv(5)
        for _ in range(15):
            time.sleep(0.03)
            sent_s = time.monotonic()
            shipper.send(output(b"x"))
            viewer.recv(5)
            took_s.append(time.monotonic() - sent_s)
    assert sorted(took_s)[7] < 0.02
    shipper.socket.close()


def test_viewer_that_speaks_is_refused(server: Server) -> None:
    session_id = shipped(server, start_record())
    shipper = Shipper(server, session_id)
    with server.view(session_id, follow=True) as viewer:
        viewer.recv(5)
        viewer.send(messages.batch(0, b""))
        assert close_code(viewer) == CloseCode.MALFORMED
    shipper.socket.close()


@pytest.mark.parametrize(
    ("session", "query", "code"),
    [
        ("0" * 32, "", CloseCode.NOT_FOUND),
        ("nonsense", "", CloseCode.NOT_FOUND),
        (None, "from=-1", CloseCode.MALFORMED),
        (None, "from=" + "9" * 19, CloseCode.MALFORMED),
        (None, "from=x", CloseCode.MALFORMED),
        (None, "follow=yes", CloseCode.MALFORMED),
    ],
)
def test_nonsense_is_closed_with_its_code(
    server: Server, session: str | None, query: str, code: CloseCode
) -> None:
    session = session or shipped(server, start_record()).hex()
    path = f"/api/sessions/{session}/records?{query}"
    viewer = server.connect(server.state.view_token, messages.VIEWER_SUBPROTOCOL, path)
    assert close_code(viewer) == code


def test_unknown_version_is_closed_with_a_reason(server: Server) -> None:
    path = f"/api/sessions/{shipped(server, start_record()).hex()}/records"
    viewer = server.connect(server.state.view_token, "ptyshipper.view.v9", path)
    assert close_code(viewer) == CloseCode.VERSION


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 403)])
def test_token_is_asked_for(server: Server, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(token, messages.VIEWER_SUBPROTOCOL, "/api/sessions/" + "0" * 32 + "/records")
    assert caught.value.response.status_code == status


def test_of_too_many_viewers_the_last_is_told_when_to_come(tmp_path: Path) -> None:
    """Who leaves makes room."""
    with running_server(tmp_path, max_viewers="2") as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record())
        with server.view(shipper.session_id, follow=True) as first:
            first.recv(5)
            with server.view(shipper.session_id, follow=True) as second:
                second.recv(5)
                with pytest.raises(InvalidStatus) as caught:
                    server.view(shipper.session_id)
                assert caught.value.response.status_code == 503
                assert int(caught.value.response.headers["retry-after"]) > 0
                assert metrics_of(server)["ptyshipper_viewers kind=records"] == 2
                stream = f"/api/sessions/{shipper.session_id.hex()}/search?q=x"
                assert server.get(stream)[0] == 503, "streams take seats, too"
            until(lambda: metrics_of(server)["ptyshipper_viewers kind=records"] == 1, "one left")
            assert server.records(shipper.session_id) == start_record()
        shipper.socket.close()


def test_unknown_path_is_not_found(server: Server) -> None:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(path="/api/elsewhere")
    assert caught.value.response.status_code == 404
