"""The whole uplink, with a real spool, against real servers that misbehave in every way."""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptyshipper import records
from ptyshipper.config import UplinkSettings
from ptyshipper.records import Kind
from ptyshipper.spool import reader
from ptyshipper.spool.ledger import Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.spool.segment import FILE_HEADER_BYTES
from ptyshipper.uplink import backoff
from ptyshipper.uplink.backoff import AttemptLimit
from ptyshipper.uplink.consignment import Consignment, Plan
from ptyshipper.uplink.courier import Courier
from ptyshipper.uplink.endpoint import parse_endpoint
from ptyshipper.uplink.stream import Dialer
from ptyshipper.wire import messages
from ptyshipper.wire.messages import ByeReason
from tests.spool.spools import Warnings, die, own, readdress
from tests.support.fake_backend import (
    FakeBackend,
    Peer,
    Script,
    Session,
    behave,
    serve_session,
    wait_until,
)
from tests.support.shipping import DESCRIPTION, TOKEN, Wrapper
from tests.support.tls_front import make_authority


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test of ten reconnects does not take a minute; their bound stays."""
    monkeypatch.setattr(backoff, "BASE_S", 0.02)


@pytest.fixture
def make() -> Iterator[Callable[..., Wrapper]]:
    made: list[Wrapper] = []

    def make(*args: object, **kwargs: object) -> Wrapper:
        made.append(Wrapper(*args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for wrapper in made:
        wrapper.close()


Make = Callable[..., Wrapper]


def session_of(backend: FakeBackend, wrapper: Wrapper) -> Session:
    return backend.sessions[wrapper.session_id]


def test_a_session_is_delivered_once_and_in_order(make: Make, tmp_path: Path) -> None:
    with FakeBackend() as backend:
        wrapper = make(backend.url, tmp_path)
        wrapper.start()
        for size in (1, 100, records.MAX_PAYLOAD_BYTES, 3) * 20:
            wrapper.write(os.urandom(size))
        assert wrapper.exit() < 3
        assert wrapper.uplink.delivered
        session = session_of(backend, wrapper)
        assert session.output() == wrapper.written
        assert wait_until(lambda: session.byes == [messages.ByeReason.ENDED])
        assert session.description == DESCRIPTION
        assert session.records[-1].kind == Kind.EXITED
        assert wrapper.warnings == []
    wrapper.close()
    assert list(tmp_path.iterdir()) == []


def test_the_request_is_as_the_protocol_says(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In particular: no extension, and no proxy whatever the environment says."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FakeBackend() as backend:
        wrapper = make(backend.url)
        wrapper.start()
        wrapper.exit()
        assert wait_until(lambda: backend.heads)
        head = backend.heads[0].decode()
    assert head.startswith("GET /api/logs/ingest HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in head
    assert "Sec-WebSocket-Protocol: ptyshipper.v1\r\n" in head
    assert f"Host: 127.0.0.1:{backend.port}\r\n" in head
    assert "Extensions" not in head


def test_a_byte_is_with_the_backend_at_once(make: Make) -> None:
    with FakeBackend() as backend:
        wrapper = make(backend.url)
        wrapper.start()
        assert wait_until(wrapper.is_acknowledged)
        waits_s = []
        for _ in range(20):
            started_s = time.monotonic()
            wrapper.write(b"x")
            assert wait_until(wrapper.is_acknowledged)
            waits_s.append(time.monotonic() - started_s)
            time.sleep(0.01)
        assert sorted(waits_s)[10] < 0.02


def test_nothing_happens_while_nothing_happens(make: Make) -> None:
    """No system call between heartbeats: the thread is not even scheduled."""
    with FakeBackend() as backend:
        wrapper = make(backend.url)
        before = set(os.listdir("/proc/self/task"))
        wrapper.start()
        assert wait_until(wrapper.is_acknowledged)
        time.sleep(0.1)
        status = [
            Path(f"/proc/self/task/{task}/status")
            for task in set(os.listdir("/proc/self/task")) - before
        ]
        switches = [path.read_text().split("voluntary_ctxt_switches")[1] for path in status]
        time.sleep(0.5)
        assert switches == [path.read_text().split("voluntary_ctxt_switches")[1] for path in status]


def freeze(peer: Peer) -> None:
    """Read nothing, say nothing, until the other side goes."""
    while not peer.backend.closing.wait(0.05):
        pass


def answer(status: int, *headers: str) -> Script:
    return lambda peer: peer.answer(status, *headers, body=b"<html>no</html>")


def raw(data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.socket.sendall(data)

    return script


def accept_and_close(code: int) -> Script:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.close(code)

    return script


def close_at_once(peer: Peer) -> None:
    peer.accept()


def reset_at_once(peer: Peer) -> None:
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def welcome_then(data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.socket.sendall(data)
        freeze(peer)

    return script


RETRIED = {
    "429": answer(429),
    "500": answer(500),
    "502": answer(502),
    "503": answer(503, "Retry-After: 0"),
    "garbage": raw(b"\x00\xff garbage \r\n\r\n"),
    "half an answer": raw(b"HTTP/1.1 101 Switch"),
    "no status": raw(b"HTTP/1.1 abc\r\n\r\n"),
    "a reset": reset_at_once,
    "closing at once": close_at_once,
}
LOST_ONCE = {
    "close 1000": accept_and_close(1000),
    "close 1012": accept_and_close(1012),
    "close 4416": accept_and_close(4416),
    "close 4503": accept_and_close(4503),
    "a text message": welcome_then(b"\x81\x02hi"),
    "a fragment": welcome_then(b"\x02\x01x"),
    "a masked frame": welcome_then(b"\x82\x81\x00\x00\x00\x00x"),
    "a message of 1 GB": welcome_then(b"\x82\x7f" + struct.pack(">Q", 2**30)),
    "an unknown message": welcome_then(b"\x82\x01\x99"),
    "a second welcome": welcome_then(b"\x82\x0d" + messages.welcome(0, 1)),
    "an ack from the future": welcome_then(b"\x82\x09" + messages.ack(2**40)),
}


@pytest.mark.parametrize("script", RETRIED.values(), ids=RETRIED.keys())
def test_what_passes_is_retried_and_nothing_is_lost(make: Make, script: Script) -> None:
    (warning,) = warnings_of_a_retry(make, script)
    assert "the program is not affected" in warning
    assert TOKEN not in warning


@pytest.mark.parametrize("script", LOST_ONCE.values(), ids=LOST_ONCE.keys())
def test_a_connection_lost_once_after_the_welcome_is_no_warning(make: Make, script: Script) -> None:
    assert warnings_of_a_retry(make, script) == []


def warnings_of_a_retry(make: Make, script: Script) -> list[str]:
    """A backend that misbehaves once, then gets everything."""
    with FakeBackend(script, behave) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        wrapper.write(b"x" * 1000)
        assert wait_until(wrapper.is_acknowledged)
        wrapper.exit()
        assert wrapper.uplink.delivered
        assert session_of(backend, wrapper).output() == wrapper.written
    return wrapper.warnings


MUST_BE_MENDED = {
    "200": (answer(200), "speaks no WebSocket"),
    "204": (answer(204), "speaks no WebSocket"),
    "302": (answer(302, "Location: http://127.0.0.1:1/"), "redirects elsewhere"),
    "400": (answer(400), "speaks no WebSocket"),
    "401": (answer(401), "token is not accepted"),
    "403": (answer(403), "token is not accepted"),
    "404": (answer(404), "speaks no WebSocket"),
    "426": (answer(426), "speaks no WebSocket"),
    "endless body": (raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000), "speaks no WebSocket"),
    "101 and no subprotocol": (
        raw(b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n\r\n"),
        "no ptyshipper backend",
    ),
    "close 4401": (accept_and_close(4401), "token is not, or no longer, accepted"),
    "close 4406": (accept_and_close(4406), "version of the protocol"),
    "close 4409": (accept_and_close(4409), "stopped shipping"),
    "close 4422": (accept_and_close(4422), "damaged"),
}


@pytest.mark.parametrize(("script", "text"), MUST_BE_MENDED.values(), ids=MUST_BE_MENDED.keys())
def test_what_does_not_pass_is_one_warning_and_no_wait_at_the_end(
    make: Make, script: Script, text: str
) -> None:
    with FakeBackend(script) as backend:
        wrapper = make(backend.url, transport="websocket")
        wrapper.start()
        wrapper.write(b"x")
        assert wait_until(lambda: wrapper.warnings)
        assert wrapper.exit() < 1
        assert not wrapper.uplink.delivered
        assert backend.attempts == 1
    (warning,) = wrapper.warnings
    assert text in warning
    assert f"127.0.0.1:{backend.port}" in warning
    assert TOKEN not in warning


def test_an_absent_backend_is_one_warning_and_waited_for_no_longer_than_the_deadline(
    make: Make,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    wrapper = make(f"http://127.0.0.1:{port}/", timeout_s=1.0)
    wrapper.start()
    assert wait_until(lambda: wrapper.warnings)
    assert wrapper.exit() < 1.5
    assert wrapper.warnings == [
        f"can't ship to 127.0.0.1:{port}: connection refused; retrying; the program is not affected"
    ]


def test_a_host_that_is_none_is_one_warning(make: Make) -> None:
    wrapper = make("http://no-such-host.invalid/", timeout_s=0.3)
    wrapper.start()
    assert wait_until(lambda: wrapper.warnings, 10)
    wrapper.exit()
    assert len(wrapper.warnings) == 1
    assert "no-such-host.invalid can't be resolved" in wrapper.warnings[0]


def test_a_backend_that_comes_back_gets_everything(make: Make, tmp_path: Path) -> None:
    with FakeBackend(reset_at_once, reset_at_once, answer(503), behave) as backend:
        wrapper = make(backend.url, tmp_path)
        wrapper.start()
        for _ in range(100):
            wrapper.write(os.urandom(1000))
        assert wait_until(wrapper.is_acknowledged, 10)
        assert session_of(backend, wrapper).output() == wrapper.written


@pytest.mark.parametrize("stage", ["connect", "upgrade", "welcome", "ack"])
def test_a_frozen_backend_holds_up_the_end_no_longer_than_the_deadline(
    make: Make, stage: str
) -> None:
    def script(peer: Peer) -> None:
        if stage == "welcome":
            peer.accept()
        elif stage == "ack":
            peer.welcome()
        elif stage == "upgrade":
            peer.read_request()
        freeze(peer)

    with FakeBackend(script) as backend:
        wrapper = make(backend.url, timeout_s=0.7)
        wrapper.start()
        # More than the sockets between us take.
        for _ in range(100):
            wrapper.write(os.urandom(records.MAX_PAYLOAD_BYTES))
        assert wait_until(lambda: backend.attempts)
        assert 0.6 < wrapper.exit() < 1.2
        assert not wrapper.uplink.delivered
        assert len(wrapper.warnings) == 1


def test_a_resolver_that_hangs_does_not_hold_up_the_end(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = []

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        time.sleep(1.5)
        answered.append(True)
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    wrapper = make("http://slow.invalid/", timeout_s=0.3)
    wrapper.start()
    time.sleep(0.2)
    assert wrapper.exit() < 0.6
    assert wait_until(lambda: answered)


def test_a_token_revoked_in_mid_stream_is_one_warning_and_slow(make: Make) -> None:
    def revoke(peer: Peer) -> None:
        session = peer.welcome()
        raw_batch = peer.receive()
        assert raw_batch is not None
        batch = messages.read_shipper_message(raw_batch)
        assert isinstance(batch, messages.Batch)
        session.take(batch)
        peer.send(messages.ack(session.offset))
        peer.close(4401)

    with FakeBackend(revoke) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        assert wait_until(lambda: wrapper.warnings)
        wrapper.write(b"x")
        time.sleep(0.3)
        assert backend.attempts == 1
        assert "token is not, or no longer, accepted" in wrapper.warnings[0]
        assert wrapper.exit() < 1


def test_who_is_told_to_come_back_later_does_and_loses_nothing(make: Make) -> None:
    """Once in mid-stream, once at the upgrade; nobody is warned of a limit that is met now and then."""
    asked_s: list[float] = []

    def slow_down(peer: Peer) -> None:
        peer.welcome()
        peer.receive()
        asked_s.append(time.monotonic())
        peer.close(4429, "too much in too short a time; retry after 1 s")

    def come_later(peer: Peer) -> None:
        asked_s.append(time.monotonic())
        peer.answer(429, "Retry-After: 1")

    def take(peer: Peer) -> None:
        asked_s.append(time.monotonic())
        behave(peer)

    with FakeBackend(slow_down, come_later, take) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        for _ in range(5):
            wrapper.write(b"x" * 60_000)
        wrapper.exit()
        assert asked_s[1] - asked_s[0] >= 1
        assert asked_s[2] - asked_s[1] >= 1
        (session,) = backend.sessions.values()
        assert session.output() == wrapper.written


def test_pings_are_answered_and_bounded(make: Make) -> None:
    def ping(peer: Peer) -> None:
        session = peer.welcome()
        for _ in range(100):
            peer.ping()
        serve_session(peer, session)

    with FakeBackend(ping) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        wrapper.write(b"x" * 100)
        assert wait_until(wrapper.is_acknowledged)
        assert wrapper.warnings == []


@pytest.mark.parametrize("seed", range(12))
def test_cuts_at_any_point_lose_nothing_and_repeat_nothing(
    make: Make, seed: int, tmp_path: Path
) -> None:
    """Connections die after a random number of bytes, and the backend may lose its last second."""
    source = random.Random(seed)

    def dying(peer: Peer) -> None:
        budget = source.randrange(200_000)
        receive = peer.socket.recv

        class Cut:
            def __getattr__(self, name: str) -> object:
                return getattr(original, name)

            def recv(self, size: int) -> bytes:
                nonlocal budget
                if budget <= 0:
                    raise ConnectionResetError
                data = receive(min(size, budget))
                budget -= len(data)
                return data

        original = peer.socket
        peer.socket = Cut()  # type: ignore[assignment]
        for session in peer.backend.sessions.values():
            if source.random() < 0.3:
                session.forget(session.offset - source.randrange(50_000))
        behave(peer)

    with FakeBackend(*[dying] * 8, behave) as backend:
        wrapper = make(backend.url, tmp_path, timeout_s=15)
        wrapper.start()
        for _ in range(120):
            wrapper.write(source.randbytes(source.choice([1, 50, 5_000, 30_000])))
            if source.random() < 0.1:
                time.sleep(0.01)
        assert wrapper.exit() < 12
        assert wrapper.uplink.delivered
        session = session_of(backend, wrapper)
        lost = sum(gap.lost_bytes for gap in session.gaps())
        assert len(session.output()) + lost == len(wrapper.written)
        if not lost:
            assert session.output() == wrapper.written


def test_at_most_twenty_attempts_in_the_first_seconds(make: Make) -> None:
    """An acknowledgement resets the backoff; the bound stands all the same."""

    def acknowledge_and_close(peer: Peer) -> None:
        session = peer.welcome()
        if (raw_batch := peer.receive()) is not None:
            batch = messages.read_shipper_message(raw_batch)
            assert isinstance(batch, messages.Batch)
            session.take(batch)
            peer.send(messages.ack(session.offset))
            peer.close(1000)

    with FakeBackend(acknowledge_and_close) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        end_s = time.monotonic() + 3
        while time.monotonic() < end_s:
            wrapper.write(b"x")
            time.sleep(0.01)
        assert 3 <= backend.attempts <= 20
        wrapper.exit()


def test_leftovers_follow_the_first_acknowledgement(make: Make, tmp_path: Path) -> None:
    dead = [Wrapper("http://unused/", tmp_path) for _ in range(3)]
    for index, wrapper in enumerate(dead):
        wrapper.write_record(Kind.STARTED, records.started(1, 80, 24, 0))
        wrapper.write(os.urandom(1000))
        if index == 0:
            wrapper.write_record(Kind.EXITED, records.exited(0, 0, False))
        die(wrapper.spool)
    with FakeBackend() as backend:
        readdress(tmp_path, backend.url)
        successor = make(backend.url, tmp_path)
        successor.start()
        assert wait_until(lambda: len(list(own(tmp_path).iterdir())) == 1)
        for wrapper in dead:
            assert session_of(backend, wrapper).output() == wrapper.written
        ended, cut = (session_of(backend, wrapper).byes for wrapper in dead[:2])
        assert wait_until(lambda: ended == [messages.ByeReason.ENDED])
        assert wait_until(lambda: cut == [messages.ByeReason.CUT])
        successor.exit()
        assert successor.uplink.delivered


def test_two_successors_deliver_each_leftover_once(make: Make, tmp_path: Path) -> None:
    dead = [Wrapper("http://unused/", tmp_path) for _ in range(6)]
    for wrapper in dead:
        wrapper.write(os.urandom(100_000 // 2))
        die(wrapper.spool)
    with FakeBackend() as backend:
        readdress(tmp_path, backend.url)
        successors = [make(backend.url, tmp_path) for _ in range(2)]
        for successor in successors:
            successor.start()
        assert wait_until(lambda: len(list(own(tmp_path).iterdir())) == 2)
        for wrapper in dead:
            assert session_of(backend, wrapper).output() == wrapper.written
            byes = session_of(backend, wrapper).byes
            assert wait_until(lambda byes=byes: byes == [messages.ByeReason.CUT])
        assert backend.attempts == 8


def test_a_leftover_that_is_refused_stays_and_the_next_is_delivered(
    make: Make, tmp_path: Path
) -> None:
    dead = [Wrapper("http://unused/", tmp_path) for _ in range(2)]
    for wrapper in dead:
        wrapper.write(b"x" * 100)
        die(wrapper.spool)
    with FakeBackend(behave, accept_and_close(4403), behave) as backend:
        readdress(tmp_path, backend.url)
        successor = make(backend.url, tmp_path)
        successor.start()
        assert wait_until(lambda: len(list(own(tmp_path).iterdir())) == 2)
        time.sleep(0.1)
        assert len(list(own(tmp_path).iterdir())) == 2
        assert successor.warnings == []


def test_a_leftover_is_not_deleted_while_it_holds_more_than_the_backend(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent was damaged later, and looks like a torn tail; behind it is what was not sent."""
    monkeypatch.setattr(reader, "_SEARCH_BUDGET_BYTES", 0)
    with FakeBackend() as backend:
        dead = make(backend.url, tmp_path)
        dead.write(b"a" * 100)
        dead.write(b"b" * 100)
        dead.write(b"c" * 100)
        die(dead.spool)
        dead._is_closed = True
        (path,) = tmp_path.rglob("*.seg")
        with open(path, "r+b") as file:
            file.seek(FILE_HEADER_BYTES + 116 + 6)
            file.write(b"\xf0")
        held = backend.sessions.setdefault(dead.session_id, Session())
        held.offset = 232
        living = make(backend.url, tmp_path)
        living.start()
        living.exit()
        assert held.output() == b"c" * 100
        assert wait_until(lambda: held.byes == [ByeReason.CUT])


def test_a_program_that_ends_at_once_still_takes_its_leftovers_along(
    make: Make, tmp_path: Path
) -> None:
    """Else a container that crashes again and again never delivers what it left."""
    dead = Wrapper("http://unused/", tmp_path)
    dead.write(b"x" * 1000)
    die(dead.spool)
    with FakeBackend() as backend:
        readdress(tmp_path, backend.url)
        successor = make(backend.url, tmp_path)
        successor.start()
        successor.exit()
        assert session_of(backend, dead).output() == dead.written


def test_what_was_left_for_another_backend_is_not_handed_over(make: Make, tmp_path: Path) -> None:
    dead = Wrapper("http://another/", tmp_path)
    dead.write(b"x" * 1000)
    die(dead.spool)
    with FakeBackend() as backend:
        successor = make(backend.url, tmp_path)
        successor.start()
        successor.exit()
        assert list(backend.sessions) == [successor.session_id]


def test_an_endpoint_that_is_none_is_one_warning(make: Make) -> None:
    wrapper = make("gopher://x/")
    wrapper.start()
    assert wait_until(lambda: wrapper.warnings)
    assert wrapper.exit() < 1
    assert len(wrapper.warnings) == 1


def test_a_bug_is_one_warning_and_ends_the_wait(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(TOKEN)

    monkeypatch.setattr("ptyshipper.spool.reader.SpoolReader.read", broken)
    with FakeBackend() as backend:
        wrapper = make(backend.url)
        wrapper.start()
        assert wait_until(lambda: wrapper.warnings)
        wrapper.write(b"x" * 100_000)
        assert wrapper.exit() < 1
    (warning,) = wrapper.warnings
    assert "ZeroDivisionError" in warning
    assert TOKEN not in warning


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private certificate authority, and a server's certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder, "IP:127.0.0.1")
    return folder


@pytest.fixture
def tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    return context


def test_tls_with_a_private_authority(make: Make, authority: Path, tls: ssl.SSLContext) -> None:
    with FakeBackend(tls=tls) as backend:
        wrapper = make(backend.url, ca_file=authority / "ca.pem")
        wrapper.start()
        for _ in range(40):
            wrapper.write(os.urandom(records.MAX_PAYLOAD_BYTES))
        assert wrapper.exit() < 5
        assert wrapper.uplink.delivered
        session = session_of(backend, wrapper)
        lost = sum(gap.lost_bytes for gap in session.gaps())
        assert len(session.output()) + lost == len(wrapper.written)
        assert wrapper.warnings == []


def test_a_certificate_that_can_not_be_verified(make: Make, tls: ssl.SSLContext) -> None:
    with FakeBackend(tls=tls) as backend:
        wrapper = make(backend.url)
        wrapper.start()
        assert wait_until(lambda: wrapper.warnings)
        assert wrapper.exit() < 1
    (warning,) = wrapper.warnings
    assert "certificate can't be verified" in warning
    assert backend.heads == []


def test_in_a_bundle_whom_only_the_image_trusts_is_asked_again_at_once(
    make: Make,
    authority: Path,
    tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal by the bundle's own certificates is no failure: nothing waits, nobody is warned."""
    monkeypatch.setattr("ptyshipper.uplink.tls.IMAGE_STORES", (str(authority / "ca.pem"),))
    with FakeBackend(tls=tls) as backend:
        wrapper = make(backend.url, ca_bundle=tmp_path)
        wrapper.start()
        wrapper.write(b"x")
        wrapper.exit()
        assert wrapper.uplink.delivered
        assert session_of(backend, wrapper).output() == b"x"
        assert wrapper.warnings == []


def test_a_certificate_for_another_name(make: Make, authority: Path, tls: ssl.SSLContext) -> None:
    with FakeBackend(tls=tls) as backend:
        wrapper = make(backend.url.replace("127.0.0.1", "localhost"), ca_file=authority / "ca.pem")
        wrapper.start()
        assert wait_until(lambda: wrapper.warnings)
        wrapper.exit()
    assert "certificate can't be verified" in wrapper.warnings[0]


def test_tls_to_a_server_without_it(make: Make, authority: Path) -> None:
    with FakeBackend(raw(b"x")) as backend:
        wrapper = make(backend.url.replace("http", "https"), ca_file=authority / "ca.pem")
        wrapper.start()
        backend.scripts[0] = lambda peer: peer.socket.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")
        assert wait_until(lambda: wrapper.warnings)
    assert "TLS failed" in wrapper.warnings[0] or "connection was lost" in wrapper.warnings[0]


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_ca_file_that_is_none(
    make: Make, content: bytes | None, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with FakeBackend(tls=tls) as backend:
        wrapper = make(backend.url, ca_file=path)
        wrapper.start()
        assert wait_until(lambda: wrapper.warnings)
        assert wrapper.exit() < 1
    assert f"the CA file can't be used: {path}" in wrapper.warnings[0]


def loaded_after(imports: str) -> set[str]:
    """The modules that a fresh interpreter has loaded then."""
    script = f"import sys, {imports}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return set(done.stdout.decode().split())


def test_nothing_of_the_network_is_loaded_before_the_thread_that_needs_it() -> None:
    """The program starts first; and these take longer to load than all the rest."""
    found = loaded_after("ptyshipper.spool.spool, ptyshipper.uplink.uplink")
    assert not found & {"socket", "select", "ssl", "websockets", "threading", "asyncio"}


def test_ssl_is_not_loaded_where_the_endpoint_has_none() -> None:
    """It takes 6 MB."""
    assert not loaded_after("ptyshipper.uplink.courier") & {"ssl", "_ssl", "asyncio"}


def test_a_courier_that_has_just_ended_may_be_told_to_finish() -> None:
    """The two threads do not agree on who is first: the main one must not be harmed."""
    with FakeBackend() as backend:
        plan = Plan(False, ByeReason.CUT, 2**20, 0, None, None)
        settings = UplinkSettings(backend.url, TOKEN, None, 5.0)
        courier = Courier(
            Consignment(os.urandom(16), DESCRIPTION, Ledger(), -1, plan, Notes(None)),
            Dialer(parse_endpoint(backend.url), settings),
            settings,
            AttemptLimit(),
            Warnings(),
            lambda: None,
        )
        courier.run()
        courier.finish(0.0)
        assert courier.delivered
