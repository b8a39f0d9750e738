"""The shippers' WebSocket of a real backend: hostile peers are refused, others do not notice."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode, retry_after_s
from ptyshipper.wire.messages import ByeReason
from tests.support.operating import make_token, metrics_of
from tests.support.server import (
    Server,
    Shipper,
    describe,
    exit_record,
    output,
    running_server,
    start_record,
)

LINE = output(b"hi\n")


def close_code(connection: ClientConnection) -> int:
    """What the backend closed with; acknowledgements before it are passed over."""
    return closed_with(connection)[0]


def closed_with(connection: ClientConnection) -> tuple[int, str]:
    """The same with the reason."""

    def read_on() -> None:
        while True:
            connection.recv(15)

    with pytest.raises(ConnectionClosed) as caught:
        read_on()
    assert caught.value.rcvd is not None, "the connection was cut without a close frame"
    return caught.value.rcvd.code, caught.value.rcvd.reason


@contextmanager
def undisturbed(server: Server) -> Iterator[None]:
    """A session that goes on before, during and after, and loses nothing."""
    session_id = os.urandom(16)
    bystander = Shipper(server, session_id)
    before, during, after = (output(text * 50) for text in (b"before", b"during", b"after"))
    bystander.ship(start_record() + before)
    bystander.send(during)
    yield
    bystander.wait_acknowledged()
    bystander.ship(after)
    assert server.records(session_id) == start_record() + before + during + after
    bystander.socket.close()


@pytest.mark.parametrize(
    ("token", "status"), [("", 401), ("wrong", 403), ("a" * 43, 403), ("x" * 4_000, 403)]
)
def test_wrong_token_is_refused_before_the_upgrade(server: Server, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(token)
    assert caught.value.response.status_code == status


def test_view_token_ships_nothing(server: Server) -> None:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(server.state.view_token)
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("subprotocol", ["ptyshipper.v2", None])
def test_unknown_version_is_accepted_and_closed_with_a_reason(
    server: Server, subprotocol: str | None
) -> None:
    """So that a client which can't see HTTP answers knows."""
    with undisturbed(server):
        stranger = server.connect(subprotocol=subprotocol)
        assert stranger.subprotocol is None
        assert close_code(stranger) == CloseCode.VERSION


def lying_length(shipper: Shipper) -> None:
    """A record that says it is longer than the batch."""
    shipper.send(LINE[:4] + b"\x02\x00\xff\xf0" + LINE[8:])


def overrun(shipper: Shipper) -> None:
    """Twice the window, without waiting for an acknowledgement."""
    batch = output(os.urandom(65_520))
    for _ in range(2 * shipper.window_bytes // len(batch)):
        try:
            shipper.send(batch)
        except ConnectionClosed:
            return


def many_tiny_records(shipper: Shipper) -> None:
    shipper.send(output(b"x") * 1_025)


HOSTILE: dict[str, tuple[Callable[[Shipper], object], set[CloseCode]]] = {
    "frame too large": (lambda it: it.socket.send(bytes(65_546)), {CloseCode.MESSAGE_TOO_BIG}),
    "frame far too large": (
        lambda it: it.socket.send(bytes(5_000_000)),
        {CloseCode.MESSAGE_TOO_BIG},
    ),
    "fragments too large": (
        lambda it: it.socket.send([bytes(40_000)] * 2),
        {CloseCode.MESSAGE_TOO_BIG},
    ),
    "text": (lambda it: it.socket.send("hello"), {CloseCode.MALFORMED}),
    "unknown message": (lambda it: it.socket.send(b"\x44\x00"), {CloseCode.MALFORMED}),
    "backend's message": (lambda it: it.socket.send(messages.ack(0)), {CloseCode.MALFORMED}),
    "second hello": (
        lambda it: it.socket.send(messages.hello(it.session_id, describe())),
        {CloseCode.MALFORMED},
    ),
    "offset that jumps": (
        lambda it: it.socket.send(messages.batch(1 << 40, LINE)),
        {CloseCode.OFFSET},
    ),
    "lying length": (lying_length, {CloseCode.RECORD}),
    "random bytes": (lambda it: it.send(os.urandom(1_000)), {CloseCode.RECORD}),
    "many tiny records": (many_tiny_records, {CloseCode.MALFORMED}),
    "record behind the exit": (lambda it: it.send(exit_record() + LINE), {CloseCode.ENDED}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_peer_is_closed_with_the_documented_code(server: Server, name: str) -> None:
    act, expected = HOSTILE[name]
    with undisturbed(server):
        hostile = Shipper(server, os.urandom(16))
        hostile.ship(start_record())
        with suppress(ConnectionClosed):  # the close may come while it still sends
            act(hostile)
        assert close_code(hostile.socket) in expected
        assert server.records(hostile.session_id) == start_record()


def test_million_tiny_records_are_taken_and_hold_nobody_up(server: Server) -> None:
    """They are within the rules; so many of them at once are not."""
    tiny = output(b"\n") * 1_024
    with undisturbed(server):
        busy = Shipper(server, os.urandom(16))
        for _ in range(100):
            busy.ship(tiny)
        begun_s = time.monotonic()
        assert server.get("/healthz")[0] == 200
        assert time.monotonic() - begun_s < 1
        busy.socket.close()


def test_newer_connection_of_a_session_takes_over(server: Server) -> None:
    """What the older one sent is stored; what it sends afterwards is not."""
    session_id = os.urandom(16)
    older = Shipper(server, session_id)
    older.send(start_record())
    newer = Shipper(server, session_id)
    assert close_code(older.socket) == CloseCode.REPLACED
    if newer.offset == 0:  # the older one's batch had not arrived yet: it is lost to it, not twice
        newer.ship(start_record())
    newer.ship(LINE)
    assert server.records(session_id) == start_record() + LINE
    newer.socket.close()


def test_description_of_the_first_hello_is_kept(server: Server) -> None:
    session_id = os.urandom(16)
    Shipper(server, session_id, hostname="first").ship(start_record())
    second = Shipper(server, session_id, hostname="second")
    second.ship(LINE)
    assert server.get(f"/api/sessions/{session_id.hex()}")[1]["hostname"] == "first"
    second.socket.close()


def test_batch_repeated_after_a_lost_ack_is_not_stored_twice(server: Server) -> None:
    """The welcome says where to go on; going on elsewhere is refused."""
    session_id = os.urandom(16)
    first = Shipper(server, session_id)
    first.ship(start_record() + LINE)
    first.socket.close()
    second = Shipper(server, session_id)
    assert second.offset == len(start_record() + LINE)
    second.socket.send(messages.batch(len(start_record()), LINE))
    assert close_code(second.socket) == CloseCode.OFFSET
    assert server.records(session_id) == start_record() + LINE


def test_goodbye_of_a_successor_tells_that_the_session_was_cut(server: Server) -> None:
    session_id = os.urandom(16)
    successor = Shipper(server, session_id)
    successor.ship(start_record() + LINE)
    successor.socket.send(messages.bye(ByeReason.CUT))
    assert close_code(successor.socket) == CloseCode.DONE
    assert server.get(f"/api/sessions/{session_id.hex()}")[1]["state"] == "cut"


def test_heartbeat_is_acknowledged(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(LINE)
    shipper.send(b"")
    assert shipper.expect() == messages.Ack(len(LINE))
    shipper.socket.close()


PREAMBLE_IMPATIENT = """
from ptyshipper.backend import guards
from ptyshipper.backend.ingest import core
guards.REQUEST_WITHIN_S = core.HELLO_WITHIN_S = 2.0
"""


def test_silent_connections_are_closed_and_nobody_notices(tmp_path: Path) -> None:
    """Those that were upgraded with 4408, those that said nothing at all by a reset."""
    with running_server(tmp_path, preamble=PREAMBLE_IMPATIENT) as server:
        host, port = server.state.url.removeprefix("http://").split(":")
        mute = [socket.create_connection((host, int(port))) for _ in range(100)]
        silent = [server.connect() for _ in range(20)]
        begun_s = time.monotonic()
        shipper = Shipper(server, os.urandom(16))
        while time.monotonic() - begun_s < 3:
            asked_s = time.monotonic()
            shipper.ship(LINE)
            assert time.monotonic() - asked_s < 1
            time.sleep(0.1)
        for connection in silent:
            assert close_code(connection) == CloseCode.TOO_SLOW
        for connection in mute:
            connection.settimeout(5)
            with connection:
                try:
                    assert connection.recv(1) == b""
                except ConnectionResetError:
                    pass
        shipper.socket.close()


PREAMBLE_SLOW = """
from ptyshipper.backend.ingest import committer, pacing
pacing.BULK_BYTES = 1 << 40
pacing.INTERVAL_S = 0.5
pacing.BURST = 1
"""


def test_window_overrun_is_refused(tmp_path: Path) -> None:
    """On a backend that commits so seldom that a window can be overrun."""
    with running_server(tmp_path, preamble=PREAMBLE_SLOW) as server, undisturbed(server):
        shipper = Shipper(server, os.urandom(16))
        overrun(shipper)
        assert close_code(shipper.socket) == CloseCode.TOO_MANY


PREAMBLE_FULL = """
import os
from ptyshipper.backend.store import sqlite
write = sqlite.SqliteStore.commit
async def commit(self, *group, flag=os.environ["PTYSHIPPER_TEST_FULL"]):
    pages = self._db.execute("PRAGMA page_count").fetchone()[0]
    limit = pages if os.path.exists(flag) else 1 << 30
    self._db.execute(f"PRAGMA max_page_count = {limit}").fetchone()
    return await write(self, *group)
sqlite.SqliteStore.commit = commit
"""


def test_full_disk_acknowledges_nothing_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shippers are told (4503) and come back; once there is room, everything is there, once."""
    flag = tmp_path / "full"
    monkeypatch.setenv("PTYSHIPPER_TEST_FULL", str(flag))
    with running_server(tmp_path, preamble=PREAMBLE_FULL) as server:
        session_id, bulk = os.urandom(16), output(os.urandom(65_000))
        shipper = Shipper(server, session_id)
        shipper.ship(start_record())
        flag.touch()
        shipper.send(bulk)
        assert close_code(shipper.socket) == CloseCode.STORE
        again = Shipper(server, session_id)
        assert again.offset == len(start_record())
        again.send(bulk)
        assert close_code(again.socket) == CloseCode.STORE
        assert server.get("/healthz")[0] == 200
        flag.unlink()
        last = Shipper(server, session_id)
        last.ship(bulk)
        assert server.records(session_id) == start_record() + bulk
        last.socket.close()
        assert "Traceback" not in server.log_path.read_text()


def test_a_deployment_over_its_rate_is_told_when_to_come_at_every_step(tmp_path: Path) -> None:
    """At the batch, at the HELLO and, where the token tells whose it is, at the upgrade. Another deployment
    does not notice."""
    with running_server(tmp_path, max_rate_bytes_per_s="1K") as server:
        token = make_token(server, deployment_id=7, app_id=1)
        batch = output(os.urandom(60_000))  # what it may send in a minute
        greedy = Shipper(server, os.urandom(16))
        greedy.ship(batch)
        greedy.send(batch)
        refused = [greedy.socket, server.connect()]
        refused[1].send(messages.hello(os.urandom(16), describe()))
        for connection in refused:
            code, reason = closed_with(connection)
            assert code == CloseCode.TOO_MANY
            assert 1 <= retry_after_s(reason) <= 60
        with pytest.raises(InvalidStatus) as caught:
            server.connect(token)
        assert caught.value.response.status_code == 429
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        other = Shipper(server, os.urandom(16), deployment_id=8)
        other.ship(batch)
        other.socket.close()
        assert server.records(greedy.session_id) == batch
        assert metrics_of(server)["ptyshipper_refusals_total cause=rate peer=shipper"] == 3
        assert metrics_of(server)["ptyshipper_closes_total code=4429 peer=shipper"] == 2


def test_who_comes_back_when_told_gets_everything_through(tmp_path: Path) -> None:
    with running_server(tmp_path, max_rate_bytes_per_s="100K") as server:
        session_id, batch, count = os.urandom(16), output(os.urandom(60_000)), 12
        refusals = 0
        while True:
            shipper = Shipper(server, session_id)
            try:
                while shipper.offset < count * len(batch):
                    shipper.ship(batch)
                break
            except ConnectionClosed as closed:
                refusals += 1
                time.sleep(retry_after_s(closed.rcvd.reason if closed.rcvd else ""))
        assert refusals >= 1
        assert server.records(session_id) == batch * count
        shipper.socket.close()


def test_of_too_many_sessions_the_last_is_told_when_to_come(tmp_path: Path) -> None:
    """One that is connected may come back over another connection."""
    with running_server(tmp_path, max_sessions="2") as server:
        first, second = Shipper(server, os.urandom(16)), Shipper(server, os.urandom(16))
        third = server.connect()
        third.send(messages.hello(os.urandom(16), describe()))
        assert close_code(third) == CloseCode.TOO_MANY
        again = Shipper(server, first.session_id)
        again.ship(LINE)
        second.ship(LINE)
        Shipper(server, os.urandom(16), deployment_id=8).socket.close()
        again.socket.close()
        second.socket.close()


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    """At any moment, again and again: what was acknowledged is there, and what follows it, once."""
    with running_server(tmp_path) as server:
        session_id, sent = os.urandom(16), b""
        for round_ in range(5):
            shipper = Shipper(server, session_id)
            assert len(shipper_acknowledged := sent) <= shipper.offset or round_ == 0
            sent = server.records(session_id)
            assert sent.startswith(shipper_acknowledged)
            assert len(sent) == shipper.offset
            for number in range(30):
                batch = output(f"{round_} {number}\n".encode() * (1 + number * 40))
                shipper.ship(batch)
                sent += batch
            shipper.send(output(b"in flight" * 1_000))  # may survive or not, but not in part
            server.kill()
            shipper.socket.close_timeout = 0
            shipper.socket.close()
            server.start()
        assert server.records(session_id).startswith(sent)
