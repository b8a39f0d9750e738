"""Whatever is wrong around it, the program runs as bare: its output, its status, its end in good time.

Each test breaks one thing, looks at the wrapped program, then mends it or lets a second wrapper run in
the same spool, and looks at what the backend holds: everything that fits, once, and for what could not
be kept a gap that says how much it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ptyshipper.config import SETTINGS
from ptyshipper.records import GapCause
from ptyshipper.spool.segment import FILE_HEADER_BYTES
from ptyshipper.wire.paths import INGEST_PATH
from tests.spool.spools import readdress
from tests.support import writer
from tests.support.fake_backend import FakeBackend, Peer, Script
from tests.support.patience import PATIENCE_S, until
from tests.support.running import Running, kill_all
from tests.support.server import Server, running_server
from tests.support.stored import (
    fresh_deployment_id,
    only_session,
    sessions_of,
)
from tests.support.tcp_proxy import Fate, TcpProxy
from tests.support.wrapped_writer import WrappedWriter
from tests.support.wrapping import BARE_ENVIRON, LOG_SHIPPER, run, shipping_environ

FLUSH_S = 1.0
IN_GOOD_TIME_S = 3.0 * PATIENCE_S / 20
"""What a start, a short program and an end may take beside the pauses that are meant."""

SEED = 20_250
STATUS = 7


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    kill_all()


@pytest.fixture
def own_backend(tmp_path: Path) -> Iterator[Server]:
    """One of this test's own, to be harmed."""
    with running_server(tmp_path) as server:
        yield server


def wrap(
    server: Server,
    spool: Path,
    size: int = 200_000,
    *,
    flush_s: float = FLUSH_S,
    settings: dict[str, str] | None = None,
    **more: object,
) -> WrappedWriter:
    """A short program on pipes that ends with ``STATUS``; it has little patience with a backend."""
    settings = {"flush_timeout_s": str(flush_s), **(settings or {})}
    options = {"exit": STATUS, **more}
    return WrappedWriter(server, spool, "pipes", SEED, size, settings=settings, **options)  # type: ignore[arg-type]


def deliver_the_rest(server: Server, spool: Path) -> None:
    """Another wrapper in the same spool: it delivers what the one before could not.

    What was meant for a backend that was bad in some way is taken for this one's.
    """
    readdress(spool, server.state.url + INGEST_PATH)
    wrap(server, spool, 1_000, flush_s=30).check_bare(STATUS, [])


def check_the_next_delivers(wrapped: WrappedWriter, server: Server, spool: Path) -> None:
    deliver_the_rest(server, spool)
    wrapped.check_complete(server, STATUS)
    assert list(spool.iterdir()) == []


def answers(status: int) -> Script:
    return lambda peer: peer.answer(status)


def closes_at_once(peer: Peer) -> None:
    pass


def garbage(peer: Peer) -> None:
    peer.read_request()
    peer.socket.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256)))


def half_a_frame(peer: Peer) -> None:
    peer.accept()
    peer.receive()
    peer.socket.sendall(b"\x82\x0d\x81\x00")


def revokes(peer: Peer) -> None:
    session = peer.welcome()
    peer.receive()
    assert session.offset == 0
    peer.close(4401)


def says_nothing(peer: Peer) -> None:
    peer.backend.closing.wait(PATIENCE_S * 2)


REFUSALS: dict[str, tuple[Script, str]] = {
    "401": (answers(401), "HTTP 401"),
    "403": (answers(403), "HTTP 403"),
    "404": (answers(404), "HTTP 404"),
    "429": (answers(429), "HTTP 429"),
    "500": (answers(500), "HTTP 500"),
    "503": (answers(503), "HTTP 503"),
    "garbage": (garbage, "no HTTP"),
    "half a frame": (half_a_frame, "connection was lost"),
    "closing at once": (closes_at_once, "connection was lost"),
    "silence": (says_nothing, "did not acknowledge"),
    "a token revoked in mid-stream": (revokes, "token"),
}


@pytest.mark.parametrize(("script", "warning"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_backend_that_refuses_costs_one_warning_and_the_patience_agreed_on(
    tmp_path: Path, server: Server, script: Script, warning: str
) -> None:
    with FakeBackend(script) as bad:
        wrapped = wrap(server, tmp_path / "spool", url=bad.url)
        wrapped.check_bare(STATUS, [warning])
        assert wrapped.seconds < FLUSH_S + IN_GOOD_TIME_S
        assert bad.attempts >= 1
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


def test_attempts_are_at_most_20_a_minute(tmp_path: Path, server: Server) -> None:
    """At the program's end the wrapper is in a hurry: in 14 s without the limit it would be 30."""
    with FakeBackend(closes_at_once) as bad:
        wrapped = wrap(server, tmp_path / "spool", url=bad.url, flush_s=14)
        wrapped.check_bare(STATUS, ["connection was lost"])
        assert 10 <= bad.attempts <= 20
        assert wrapped.seconds < 14 + IN_GOOD_TIME_S
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


def test_a_backend_that_is_absent_and_one_that_comes_late(tmp_path: Path, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    spool = tmp_path / "spool"
    wrapped = wrap(server, spool, url=f"http://127.0.0.1:{port}/api/logs/ingest")
    wrapped.check_bare(STATUS, ["connection refused"])
    assert wrapped.seconds < FLUSH_S + IN_GOOD_TIME_S
    check_the_next_delivers(wrapped, server, spool)


def test_a_black_hole_is_waited_for_no_longer_than_agreed(tmp_path: Path, server: Server) -> None:
    """No packet is ever answered: a listener whose queue is full drops every SYN."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/logs/ingest"
        wrapped = wrap(server, tmp_path / "spool", url=url)
        wrapped.check_bare(STATUS, ["did not acknowledge"])
        assert wrapped.seconds < FLUSH_S + IN_GOOD_TIME_S
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


def test_a_proxy_that_accepts_and_passes_nothing_on(tmp_path: Path, server: Server) -> None:
    port = int(server.state.url.rpartition(":")[2])
    with TcpProxy(port, lambda _: Fate(black_hole=True)) as proxy:
        wrapped = wrap(server, tmp_path / "spool", url=proxy.url())
        wrapped.check_bare(STATUS, ["did not acknowledge"])
        assert wrapped.seconds < FLUSH_S + IN_GOOD_TIME_S
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


def test_a_server_without_tls_behind_https(tmp_path: Path, server: Server) -> None:
    url = server.state.url.replace("http:", "https:") + "/api/logs/ingest"
    wrapped = wrap(server, tmp_path / "spool", url=url)
    wrapped.check_bare(STATUS, ["TLS failed"])
    assert wrapped.seconds < FLUSH_S + IN_GOOD_TIME_S
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl(1)")
def test_a_certificate_that_nobody_signed(tmp_path: Path, server: Server) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FakeBackend(tls=context) as bad:
        wrapped = wrap(server, tmp_path / "spool", url=bad.url)
        wrapped.check_bare(STATUS, ["certificate can't be verified"])
        assert wrapped.seconds < IN_GOOD_TIME_S, "nothing to wait for"
        assert bad.sessions == {}
    check_the_next_delivers(wrapped, server, tmp_path / "spool")


def test_a_frozen_backend_that_thaws_has_everything(tmp_path: Path, own_backend: Server) -> None:
    """SIGSTOP: the kernel goes on accepting, and nobody answers. Nobody is warned of a short one."""
    wrapped = wrap(
        own_backend, tmp_path / "spool", 2_000_000, flush_s=60, pause_ms=3, wait=tmp_path / "go"
    )
    until(lambda: sessions_of(own_backend, wrapped.deployment_id), "it ships")
    assert own_backend.process is not None
    own_backend.process.send_signal(signal.SIGSTOP)
    until(lambda: sum(map(len, wrapped.printed.values())) == 2_000_000, "the program goes on")
    own_backend.process.send_signal(signal.SIGCONT)
    (tmp_path / "go").touch()
    wrapped.check_bare(STATUS, [])
    wrapped.check_complete(own_backend, STATUS)


def test_a_backend_that_stays_frozen_is_waited_for_no_longer_than_agreed(
    tmp_path: Path, own_backend: Server
) -> None:
    wrapped = wrap(own_backend, tmp_path / "spool", 2_000_000, wait=tmp_path / "go")
    until(lambda: sessions_of(own_backend, wrapped.deployment_id), "it ships")
    assert own_backend.process is not None
    own_backend.process.send_signal(signal.SIGSTOP)
    until(lambda: sum(map(len, wrapped.printed.values())) == 2_000_000, "the program goes on")
    (tmp_path / "go").touch()
    ended_s = time.monotonic()
    wrapped.wait()
    assert time.monotonic() - ended_s < FLUSH_S + IN_GOOD_TIME_S
    own_backend.process.send_signal(signal.SIGCONT)
    check_the_next_delivers(wrapped, own_backend, tmp_path / "spool")


def test_a_token_that_is_changed_in_mid_stream(tmp_path: Path, own_backend: Server) -> None:
    """One warning, no wait at the end; the next wrapper, which has the new token, delivers."""
    wrapped = wrap(
        own_backend, tmp_path / "spool", 2_000_000, flush_s=60, pause_ms=3, wait=tmp_path / "go"
    )
    until(lambda: sessions_of(own_backend, wrapped.deployment_id), "it ships")
    own_backend.kill()
    (own_backend.data_dir / "tokens.json").unlink()
    own_backend.start()
    until(lambda: any("HTTP 403" in w for w in wrapped.warnings), "it is refused")
    (tmp_path / "go").touch()
    wrapped.wait()
    assert sum("HTTP 403" in warning for warning in wrapped.warnings) == 1
    wrapped.check_bare(STATUS)
    check_the_next_delivers(wrapped, own_backend, tmp_path / "spool")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk of its own with these options."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
            pytest.skip("needs to mount a disk")
        mounted.append(place)
        return place

    yield mount
    kill_all()
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def write_while_the_backend_is_away(
    server: Server, spool: Path, tmp_path: Path, meanwhile: Callable[[], None] = lambda: None
) -> WrappedWriter:
    """3 MB while the backend is away, ``meanwhile`` after the first half; then it is back."""
    wrapped = wrap(
        server, spool, 3_000_000, flush_s=60, fds="1", pause_ms=1, wait=tmp_path / "go",
        settings={"spool_max_bytes": "8M"},
    )  # fmt: skip
    until(lambda: any(s["bytes"] for s in sessions_of(server, wrapped.deployment_id)), "it ships")
    server.kill()
    until(lambda: len(wrapped.out) > 1_500_000, "half is written")
    meanwhile()
    until(lambda: len(wrapped.out) == 3_000_000, "all is written")
    server.start()
    (tmp_path / "go").touch()
    return wrapped


def test_a_disk_that_becomes_full_loses_nothing_that_fits_into_memory(
    tmp_path: Path, own_backend: Server, mount: Callable[[str], Path]
) -> None:
    wrapped = write_while_the_backend_is_away(own_backend, mount("size=1m"), tmp_path)
    wrapped.check_bare(STATUS, ["No space left on device", "can't ship to"])
    wrapped.check_complete(own_backend, STATUS)


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_disk_that_takes_nothing_from_the_start(
    tmp_path: Path, server: Server, mount: Callable[[str], Path], state: str
) -> None:
    disk = mount("size=64k" + (",ro" if state == "read-only" else ""))
    if state == "full":
        with suppress(OSError), open(disk / "filler", "wb") as filler:
            filler.write(bytes(10**6))
    wrapped = wrap(server, disk, 500_000, flush_s=60)
    wrapped.check_bare(STATUS, ["can't spool in"])
    wrapped.check_complete(server, STATUS)


def test_a_spool_that_is_taken_away_in_mid_run_is_a_gap_that_adds_up(
    tmp_path: Path, own_backend: Server
) -> None:
    """What was in it is gone; what the program writes from then on is kept in memory."""
    spool = tmp_path / "spool"
    wrapped = write_while_the_backend_is_away(
        own_backend, spool, tmp_path, lambda: shutil.rmtree(spool)
    )
    wrapped.check_bare(STATUS, ["can't ship to", "the spool failed"])
    stored = only_session(own_backend, wrapped.deployment_id)
    stored.check_in_place(writer.written(wrapped.side, wrapped.seed)[1])
    assert stored.lost_bytes < 1_600_000
    assert stored.causes <= {GapCause.CORRUPT, GapCause.SPOOL_FAILED}
    assert (stored.summary["state"], stored.summary["exit_code"]) == ("exited", STATUS)


def left_behind(server: Server, spool: Path, size: int = 2_000_000) -> WrappedWriter:
    """A session that is in the spool whole, by default in four segments or five; nothing of it was
    delivered."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    wrapped = wrap(
        server, spool, size, url=url, flush_s=0, fds="1",
        settings={"spool_max_bytes": f"{8 * SEGMENT_BYTES}"},
    )  # fmt: skip
    wrapped.wait()
    return wrapped


SEGMENT_BYTES = 2**19
"""An eighth of the spool's bound is what a segment holds at most."""


def segments(spool: Path) -> list[Path]:
    return sorted(spool.glob("*/*/*.seg"))


def overwrite(path: Path, place: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)


def harm_a_byte(spool: Path) -> None:
    path = segments(spool)[1]
    overwrite(path, path.stat().st_size // 2, b"\xa5\x5a")


def harm_a_page(spool: Path) -> None:
    path = segments(spool)[1]
    overwrite(path, 100_000, bytes(4096))


def harm_a_records_header(spool: Path) -> None:
    overwrite(segments(spool)[1], FILE_HEADER_BYTES, b"\xff" * 16)


def harm_a_segments_header(spool: Path) -> None:
    overwrite(segments(spool)[1], 0, b"\xff" * FILE_HEADER_BYTES)


def harm_by_cutting_short(spool: Path) -> None:
    path = segments(spool)[1]
    os.truncate(path, path.stat().st_size // 2)


def harm_by_removal(spool: Path) -> None:
    segments(spool)[1].unlink()


@pytest.mark.parametrize(
    "harm",
    [harm_a_byte, harm_a_page, harm_a_records_header, harm_a_segments_header,
     harm_by_cutting_short, harm_by_removal],
)  # fmt: skip
def test_a_damaged_middle_becomes_a_gap_whose_numbers_add_up(
    tmp_path: Path, server: Server, harm: Callable[[Path], None]
) -> None:
    spool = tmp_path / "spool"
    wrapped = left_behind(server, spool)
    harm(spool)
    deliver_the_rest(server, spool)
    stored = only_session(server, wrapped.deployment_id)
    stored.check_in_place(writer.written(wrapped.side, wrapped.seed)[1])
    # A segment that is not there at all looks like one that was dropped because the spool was full.
    is_removal = harm is harm_by_removal
    assert stored.causes == {GapCause.OVERFLOW if is_removal else GapCause.CORRUPT}
    assert 0 < stored.lost_bytes <= SEGMENT_BYTES
    assert (stored.summary["state"], stored.summary["exit_code"]) == ("exited", STATUS)


@pytest.mark.parametrize("torn_bytes", [1, 19, 30, 2_000])
def test_a_torn_tail_ends_the_session_before_it(
    tmp_path: Path, server: Server, torn_bytes: int
) -> None:
    """What is torn never was a record: no gap, and what was whole is delivered, as a session cut off."""
    spool = tmp_path / "spool"
    wrapped = left_behind(server, spool)
    newest = segments(spool)[-1]
    os.truncate(newest, newest.stat().st_size - torn_bytes)
    deliver_the_rest(server, spool)
    stored = only_session(server, wrapped.deployment_id)
    written = writer.written(wrapped.side, wrapped.seed)[1]
    assert (stored.summary["state"], stored.gaps) == ("cut", [])
    assert written.startswith(stored.streams[1])
    assert len(written) - len(stored.streams[1]) <= torn_bytes + 65_536
    assert (len(stored.streams[1]) == len(written)) == (torn_bytes <= 19)


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path, server: Server) -> None:
    """The records' times are monotonic; only the wrapper's wall clock goes back, by an hour."""
    set_back = (
        "import time as t; began = t.monotonic(); wall, wall_ns = t.time, t.time_ns;"
        "ago = lambda: 3600 if t.monotonic() - began > 0.3 else 0;"
        "t.time = lambda: wall() - ago(); t.time_ns = lambda: wall_ns() - ago() * 10**9;"
    )
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, tmp_path / "spool", deployment_id=str(deployment_id))
    program = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done"
    done = run([*LOG_SHIPPER[:2], set_back + LOG_SHIPPER[2], "sh", "-c", program], environ)
    assert (done.returncode, done.stderr) == (0, b"")
    stored = only_session(server, deployment_id)
    assert stored.streams[1] == b"1\n2\n3\n4\n5\n6\n7\n8\n"
    times_us = [record.time_us for record in stored.events]
    assert times_us == sorted(times_us)
    assert 800_000 <= times_us[-1] < 60_000_000
    assert stored.summary["started_at"] <= stored.summary["ended_at"]


@pytest.mark.parametrize("way", ["pipes", "always"])
def test_bytes_that_are_no_text(tmp_path: Path, server: Server, way: str) -> None:
    odd = bytes(range(256)) + b"\0" * 1000 + b"\xff\xfe\xc3\x28\xf0\x9f\x92\xed\xa0\x80\r\r\n\n"
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        server, tmp_path / "spool", deployment_id=str(deployment_id),
        tty="always" if way == "always" else "auto",
    )  # fmt: skip
    program = f"import os; os.write(1, {odd!r}); os.write(2, {odd[::-1]!r})"
    done = run([*LOG_SHIPPER, sys.executable, "-c", program], environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, odd, odd[::-1])
    stored = only_session(server, deployment_id)
    assert (stored.streams[1], stored.streams[2]) == (odd, odd[::-1])


PROGRAM = ["sh", "-c", "echo out; echo err >&2; exit 7"]


def check_runs(environ: dict[str, str]) -> list[str]:
    """The program runs as bare; the wrapper's warnings."""
    running = Running([*LOG_SHIPPER, *PROGRAM], environ)
    assert running.wait() == 7
    assert running.printed == {1: b"out\n", 2: b"err\n"}
    assert running.seconds < IN_GOOD_TIME_S
    return running.warnings


def test_no_configuration_at_all_is_one_warning() -> None:
    (warning,) = check_runs(BARE_ENVIRON)
    assert "_PRIVATE_ANVILOPS_LOG_ENDPOINT is not set" in warning


BAD_VALUES = {
    "endpoint": [
        "ftp://x/",
        "http://",
        "http://x:99999/",
        "http://u:p@x/",
        "http://[::1/",
        "nonsense",
    ],
    "token": ["a b", "täg"],
    "deployment_id": ["seven", "-1", "1.5"],
    "log_type": ["neither"],
    "tty": ["maybe"],
    "transport": ["carrier pigeon"],
    "colours": ["red"],
    "spool_max_bytes": ["much", "1K", "9999999999G", "-5M"],
    "spool_overflow": ["explode"],
    "flush_timeout_s": ["soon", "-1", "nan", "1e9"],
    "drain_timeout_s": ["soon", "-1", "inf"],
    "ca_file": [],
    "spool_dir": [],
}
"""Of the two without a bad value every text is a path; see the test of a path that leads nowhere."""


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_a_setting_that_cannot_be_read_is_one_warning(
    tmp_path: Path, server: Server, name: str, value: str
) -> None:
    """And what the program prints is shipped with the default, where there is a place to ship to."""
    (setting,) = [setting for setting in SETTINGS if setting.name == name]
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, tmp_path / "spool", deployment_id=str(deployment_id))
    warnings = check_runs({**environ, setting.variable: value})
    # Without a place to ship to, or a token, a second line says what follows from that.
    assert len(warnings) == 1
    assert setting.variable in warnings[0]
    assert value not in "".join(warnings), "it may be a secret in the wrong place"
    if name not in ("endpoint", "token", "deployment_id"):
        assert only_session(server, deployment_id).streams[1] == b"out\n"


def test_every_setting_has_its_bad_values() -> None:
    assert {setting.name for setting in SETTINGS} == BAD_VALUES.keys()


def test_paths_that_lead_nowhere_are_a_warning_each(tmp_path: Path, server: Server) -> None:
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        server, "/proc/nowhere", deployment_id=str(deployment_id), ca_file="/nowhere.pem"
    )
    (warning,) = check_runs(environ)
    assert "can't spool in /proc/nowhere" in warning
    assert only_session(server, deployment_id).streams[1] == b"out\n"


def test_a_description_that_is_damaged_harms_no_other_session(
    tmp_path: Path, server: Server
) -> None:
    spool = tmp_path / "spool"
    # Both fit the bound at once: what the dead hold counts, and the living would drop their oldest.
    first, second = (left_behind(server, spool, 600_000) for _ in range(2))
    (damaged,) = [
        path for path in spool.glob("*/*/session.json")
        if json.loads(path.read_text())["deployment_id"] == first.deployment_id
    ]  # fmt: skip
    damaged.write_bytes(b"\0" * 50)
    deliver_the_rest(server, spool)
    second.check_complete(server, STATUS)
