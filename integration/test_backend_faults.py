"""What happens to the backend costs nobody a byte, and what one peer does to it costs the others nothing.

Wrapped writers run while the backend drains, is killed, has no room or no database, or while a peer does
its worst; in the end it holds what they wrote, once. Its memory stays within what the code says it may
hold. ``integration/test_conservation.py`` has the backend killed at random moments, and
``integration/test_faults.py`` what happens around a wrapper.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from ptyshipper.backend.fanout import ALL_QUEUES_BYTES
from ptyshipper.backend.ingest.allowance import WAITING_BYTES
from tests.support.operating import metrics_of
from tests.support.patience import until
from tests.support.postgres import Postgres, running_postgres
from tests.support.raw_peer import unread_viewer
from tests.support.running import kill_all
from tests.support.server import Server, Shipper, output, running_server
from tests.support.stored import sessions_of
from tests.support.tcp_proxy import TcpProxy
from tests.support.wrapped_writer import WrappedWriter

WAYS = ["pipes", "always", "terminal"]
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    kill_all()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def port_of(server: Server) -> int:
    return int(server.state.url.rpartition(":")[2])


def memory_bytes(server: Server, what: str = "VmHWM") -> int:
    """The backend's resident memory at its peak (``VmHWM``), or now (``VmRSS``)."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(what + ":"))
    return int(line.split()[1]) * 1024


def forget_the_peak(server: Server) -> None:
    """From now on ``VmHWM`` is that of what follows. Source: proc(5), clear_refs."""
    assert server.process is not None
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def write_through(
    server: Server, tmp_path: Path, url: str | None = None, size: int = 3_000_000
) -> list[WrappedWriter]:
    """Wrapped writers of every kind, that take seconds."""
    return [
        WrappedWriter(server, tmp_path / "spool", way, 7 + status, size, url=url, pause_ms=20, exit=status)
        for status, way in enumerate(WAYS)
    ]  # fmt: skip


def is_shipping(server: Server, runs: list[WrappedWriter]) -> bool:
    return all(any(s["bytes"] for s in sessions_of(server, run.deployment_id)) for run in runs)


def check_complete(server: Server, runs: list[WrappedWriter]) -> None:
    for status, run in enumerate(runs):
        run.check_bare(status)
        run.check_complete(server, status)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database of the test's own."""
    with postgres.database() as found:
        yield found


@contextmanager
def two_on_one_database(url: str, tmp_path: Path) -> Iterator[list[Server]]:
    """The same token is good at both."""
    one, other = tmp_path / "one", tmp_path / "other"
    for place in (one, other):
        place.mkdir()
    with running_server(one, store_url=url) as first:
        (other / "data").mkdir(mode=0o700)
        shutil.copy(first.data_dir / "tokens.json", other / "data")
        with running_server(other, store_url=url) as second:
            yield [first, second]


def test_who_is_sent_away_goes_on_at_the_other_replica(url: str, tmp_path: Path) -> None:
    """A rolling restart: each of the two is drained while the other takes over, again and again."""
    with two_on_one_database(url, tmp_path) as replicas, TcpProxy(0) as service:
        service.target_port = port_of(replicas[0])
        runs = write_through(replicas[0], tmp_path, service.url())
        until(lambda: is_shipping(replicas[0], runs), "all of them ship")
        for turn in range(4):
            leaving, staying = replicas[turn % 2], replicas[1 - turn % 2]
            service.target_port = port_of(staying)
            assert leaving.stop() == 0
            leaving.start()
        check_complete(replicas[0], runs)


def test_a_replica_that_is_killed_loses_nothing(url: str, tmp_path: Path) -> None:
    with two_on_one_database(url, tmp_path) as replicas, TcpProxy(0) as service:
        service.target_port = port_of(replicas[0])
        runs = write_through(replicas[0], tmp_path, service.url())
        until(lambda: is_shipping(replicas[0], runs), "all of them ship")
        service.target_port = port_of(replicas[1])
        replicas[0].kill()
        check_complete(replicas[1], runs)


def test_restarts_one_after_another_on_the_same_data(tmp_path: Path) -> None:
    """Drained, not killed: the next ``serve`` on the directory goes on where the last one ended."""
    with running_server(tmp_path) as server:
        runs = write_through(server, tmp_path)
        until(lambda: is_shipping(server, runs), "all of them ship")
        for _ in range(3):
            assert server.stop() == 0
            server.start()
        check_complete(server, runs)


def test_a_database_that_hangs_is_a_bounded_memory_and_no_loss(
    postgres: Postgres, url: str, tmp_path: Path
) -> None:
    """While it hangs, floods of more than the bound are turned away; afterwards everything arrives."""
    with running_server(tmp_path, store_url=url) as server:
        runs = write_through(server, tmp_path)
        until(lambda: is_shipping(server, runs), "all of them ship")
        floods = [Shipper(server, os.urandom(16)) for _ in range(100)]
        before_bytes = memory_bytes(server, "VmRSS")
        forget_the_peak(server)
        postgres.freeze()
        try:
            sent_bytes = sum(flood_window(shipper) for shipper in floods)
            until(lambda: refusals_of(server) > 0, "some are turned away")
            assert metrics_of(server)["ptyshipper_waiting_bytes"] <= WAITING_BYTES
        finally:
            postgres.thaw()
        assert sent_bytes > WAITING_BYTES / 2
        for shipper in floods:
            shipper.socket.close()
        check_complete(server, runs)
        # What waits, one commit of it as it is sent, and what the peers' sockets held.
        assert memory_bytes(server) - before_bytes < WAITING_BYTES + 128 * MIB


def test_a_database_that_hangs_does_not_keep_it_from_ending(
    postgres: Postgres, url: str, tmp_path: Path
) -> None:
    """What it had not stored was not acknowledged, and it says no more than that."""
    with running_server(tmp_path, store_url=url) as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(BATCH)
        postgres.freeze()
        try:
            shipper.send(BATCH)
            assert server.stop() == 0
        finally:
            postgres.thaw()
        (line,) = server.log_path.read_text().splitlines()
        assert "the store took too long" in line
        server.start()
        again = Shipper(server, shipper.session_id)
        assert again.offset in (len(BATCH), 2 * len(BATCH)), "the commit may have got through"
        again.socket.close()


def refusals_of(server: Server) -> float:
    return metrics_of(server).get("ptyshipper_refusals_total cause=full peer=shipper", 0)


BATCH = output(b"x" * 60_000)


def flood_window(shipper: Shipper) -> int:
    """Send as much as its window allows without waiting for an answer; how much it was."""
    sent_bytes = 0
    while sent_bytes + len(BATCH) <= shipper.window_bytes:
        try:
            shipper.send(BATCH)
        except ConnectionClosed:
            break
        sent_bytes += len(BATCH)
    return sent_bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Under the data directory of ``running_server(tmp_path)``."""
    place = tmp_path / "data"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs to mount a disk")
    yield place
    kill_all()
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_that_gets_room_again_has_everything(small_disk: Path, tmp_path: Path) -> None:
    """Meanwhile nothing is acknowledged, the backend is alive, and what it has can be read."""
    with running_server(tmp_path) as server:
        runs = write_through(server, tmp_path, size=4_000_000)
        until(lambda: "can't be written" in server.log_path.read_text(), "the disk is full")
        assert server.get("/healthz")[0] == 200
        assert is_shipping(server, runs[:1])
        subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
        check_complete(server, runs)
        assert metrics_of(server)["ptyshipper_store_errors_total operation=commit"] > 0


def test_viewers_that_never_read_hold_up_nobody_and_hold_little(tmp_path: Path) -> None:
    """Each is a megabyte behind at most, whatever is shipped, and all together no more than their share."""
    with running_server(tmp_path) as server, ExitStack() as stack:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(BATCH)
        for _ in range(40):
            stack.enter_context(unread_viewer(server, shipper.session_id))
        until(lambda: metrics_of(server)["ptyshipper_viewers kind=records"] == 40, "all look on")
        runs = write_through(server, tmp_path)
        forget_the_peak(server)
        before_bytes = memory_bytes(server)
        for _ in range(500):
            shipper.ship(BATCH)
        check_complete(server, runs)
        now = metrics_of(server)
        assert now["ptyshipper_viewer_resyncs_total"] >= 1
        assert now["ptyshipper_viewer_queue_bytes"] <= ALL_QUEUES_BYTES
        # In each socket's buffer at most the message that is on its way, of up to a MiB.
        assert memory_bytes(server) - before_bytes < ALL_QUEUES_BYTES + 40 * MIB
        shipper.socket.close()


FLOOD_BYTES = int(os.environ.get("PTYSHIPPER_FLOOD_MB", "150")) * 1_000_000


def flood(shipper: Shipper) -> None:
    """As fast as its window lets it."""
    pieces = FLOOD_BYTES // len(BATCH)
    for _ in range(pieces):
        while shipper.offset - shipper._acknowledged_offset + len(BATCH) > shipper.window_bytes:
            message = shipper.expect()
            shipper._acknowledged_offset = message.offset
        shipper.send(BATCH)
    shipper.wait_acknowledged()


def test_one_that_floods_starves_nobody_and_fills_nothing(tmp_path: Path) -> None:
    """Another's lines are acknowledged all the while, and wrapped writers end with all that they wrote.
    ``PTYSHIPPER_FLOOD_MB=1000`` sends a gigabyte."""
    with running_server(tmp_path) as server:
        flooding, quiet = Shipper(server, os.urandom(16)), Shipper(server, os.urandom(16))
        runs = write_through(server, tmp_path)
        before_bytes = memory_bytes(server)
        sender = threading.Thread(target=flood, args=(flooding,))
        took_s: list[float] = []
        sender.start()
        while sender.is_alive():
            asked_s = time.monotonic()
            quiet.ship(output(b"still here\n"))
            took_s.append(time.monotonic() - asked_s)
            time.sleep(0.01)  # a line now and then, as from a quiet program
        sender.join()
        check_complete(server, runs)
        took_s.sort()
        print(
            f"{FLOOD_BYTES // 1_000_000} MB; another's ACK: median {took_s[len(took_s) // 2] * 1e3:.1f} ms,"
            f" p99 {took_s[len(took_s) * 99 // 100] * 1e3:.1f} ms, {len(took_s)} lines;"
            f" memory {before_bytes / MIB:.0f} MiB, at its peak {memory_bytes(server) / MIB:.0f} MiB"
        )
        assert len(took_s) >= 10, "lines got through while it was flooded"
        assert memory_bytes(server) - before_bytes < 64 * MIB
        (session,) = (s for s in sessions_of(server, 7) if s["id"] == flooding.session_id.hex())
        assert session["bytes"] == FLOOD_BYTES // len(BATCH) * 60_000
        flooding.socket.close()
        quiet.socket.close()
