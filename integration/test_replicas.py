"""Several backends on one Postgres: a session may go on at any, be watched at any, and nothing is lost.

What is random shows its seed; ``PTYSHIPPER_SEED=<seed>`` makes the same choices again.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from integration.test_conservation import FACTOR, LONG, WAYS, chance, fates, kill_now_and_then
from ptyshipper.backend import tokens
from ptyshipper.records import decode
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.paths import INGEST_PATH
from tests.backend.viewers.test_app_logs import Pod
from tests.support.patience import PATIENCE_S, until
from tests.support.postgres import Postgres, running_postgres
from tests.support.running import kill_all
from tests.support.server import Server, Shipper, exit_record, output, read_to_summary
from tests.support.stored import sessions_of
from tests.support.streams import asked
from tests.support.tcp_proxy import Fate, TcpProxy, always_good
from tests.support.wrapped_writer import WrappedWriter

__all__ = ["chance"]

IMPATIENT = (
    "from ptyshipper.backend.store import connections as c;"
    " c.ANSWER_WITHIN_S = c.CONNECT_WITHIN_S = 1.0; "
)
"""A backend that gives a silent database up after a second: what it takes 20 for otherwise."""
DEAF = "from ptyshipper.backend.viewers import endpoint as e; e.LOOK_EVERY_S = 1e6; "
"""A backend whose viewers never look at the store unless they are woken."""
DEAF_TO_TIME = "from ptyshipper.backend.viewers import app_logs as a; a.HEARTBEAT_S = 1e6; "
"""The same of those who read an app's lines."""
SESSION = bytes(range(16))
APP = 7


class Balancer(TcpProxy):
    """In front of several backends: each connection goes to one of them by chance, dead or alive."""

    def __init__(
        self,
        servers: list[Server],
        chance: random.Random,
        fate_of: Callable[[int], Fate] = always_good,
    ) -> None:
        self._ports = [int(server.state.url.rpartition(":")[2]) for server in servers]
        self._chance = chance
        super().__init__(0, fate_of)

    def target(self) -> int:
        return self._chance.choice(self._ports)


@pytest.fixture
def replicas(tmp_path: Path, postgres: Postgres) -> Iterator[list[Server]]:
    """Three that have the same tokens, each with a directory of its own."""
    with postgres.database() as url:
        servers = list(make_replicas(tmp_path, url))
        for server in servers:
            server.start()
        yield servers
        kill_all()
        for server in servers:
            if server.process is not None:
                server.kill()


def make_replicas(tmp_path: Path, url: str) -> Iterator[Server]:
    issued: bytes | None = None
    for name in "abc":
        data_dir = tmp_path / name / "data"
        data_dir.mkdir(parents=True)
        if issued is None:
            tokens.read_or_make(data_dir)
            issued = (data_dir / tokens.FILE_NAME).read_bytes()
        (data_dir / tokens.FILE_NAME).write_bytes(issued)
        yield Server(data_dir, store_url=url)


def test_session_goes_on_at_another_backend(replicas: list[Server]) -> None:
    """From where the one before acknowledged; every backend has all of it."""
    sent = b""
    for number, server in enumerate([*replicas, *replicas]):
        shipper = Shipper(server, SESSION)
        assert shipper.offset == len(sent)
        shipper.ship(output(b"line %d\n" % number))
        sent += output(b"line %d\n" % number)
        shipper.socket.close()
    for server in replicas:
        assert server.records(SESSION) == sent


def test_session_is_watched_live_at_any_backend(replicas: list[Server]) -> None:
    """Each batch arrives when it is stored, whichever backend the session is at, and the end does."""
    for server in replicas:
        server.kill()
        server.start(preamble=DEAF)
    shipper, sent_bytes = Shipper(replicas[0], SESSION), 0
    viewers = [Viewer(server) for server in replicas]
    for turn in range(12):
        if turn % 4 == 3:
            shipper = Shipper(replicas[turn // 4], SESSION)
        records = output(b"live %d\n" % turn)
        shipper.ship(records)
        sent_bytes += len(records)
        for viewer in viewers:
            viewer.read_to(sent_bytes)
    shipper.ship(exit_record(3))
    for viewer in viewers:
        records, summary = read_to_summary(viewer.socket, sent_bytes)
        assert (records, summary["exit_code"]) == (exit_record(3), 3)


def test_app_is_watched_live_at_any_backend(replicas: list[Server], chance: random.Random) -> None:
    """Its sessions are at all of them and print at once: every reader has each line once, in one order, and
    is told by notifications alone."""
    for server in replicas:
        server.kill()
        server.start(preamble=DEAF_TO_TIME)
    pods = [Pod(server, APP) for server in replicas for _ in range(2)]
    count = 50

    def print_lines(pod: Pod, pauses_s: list[float]) -> None:
        for number, pause_s in enumerate(pauses_s):
            time.sleep(pause_s)  # drawn: commits of the three are to meet in any way
            pod.ship(output(b"%d\n" % number))

    with ExitStack() as stack:
        readers = [
            stack.enter_context(asked(server, f"/api/app/{APP}/logs")) for server in replicas
        ]
        told = [reader.events() for reader in readers]
        assert [next(events).name for events in told] == ["pastLogsSent"] * len(replicas)
        printing = [
            threading.Thread(
                target=print_lines, args=(pod, [chance.uniform(0, 0.02) for _ in range(count)])
            )
            for pod in pods
        ]
        for thread in printing:
            thread.start()
        seen = [[next(events) for _ in range(count * len(pods))] for events in told]
        for thread in printing:
            thread.join()
    ids = [event.id or 0 for event in seen[0]]
    assert ids == sorted(set(ids))
    assert seen == [seen[0]] * len(replicas)
    for pod in pods:
        pod.socket.close()


class Viewer:
    """Watches the session live."""

    def __init__(self, server: Server) -> None:
        self.socket = server.view(SESSION, follow=True)
        self._offset = 0

    def read_to(self, offset: int) -> None:
        """Until everything before this offset has come, in order."""
        while self._offset < offset:
            raw = self.socket.recv(PATIENCE_S)
            assert isinstance(raw, bytes)
            batch = messages.read_viewer_message(raw)
            assert isinstance(batch, messages.Batch)
            assert batch.offset == self._offset
            self._offset += len(batch.records)


def test_of_two_connections_at_once_the_later_wins(
    replicas: list[Server], chance: random.Random
) -> None:
    """Connection after connection takes the session over, each at another backend, while the one before
    still sends as fast as it can: nothing of an older one is stored behind anything of a newer."""
    turns = 20 * FACTOR
    closed_with = list[int | None]()

    def send_on(shipper: Shipper, turn: int) -> None:
        """Until the backend closes, which it does for each but the last."""
        try:
            for number in range(1_000_000):
                if turn == turns - 1 and number == 50:
                    return
                shipper.ship(output(b"%d:%d\n" % (turn, number)))
        except ConnectionClosed as closed:
            closed_with.append(closed.rcvd.code if closed.rcvd else None)

    threads = list[threading.Thread]()
    where = 0
    for turn in range(turns):
        where = (where + chance.choice([1, 2])) % 3
        shipper = Shipper(replicas[where], SESSION)
        threads.append(threading.Thread(target=send_on, args=(shipper, turn)))
        threads[-1].start()
        time.sleep(chance.uniform(0, 0.03))  # so that some have sent, and some have not
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert closed_with == [CloseCode.REPLACED] * (turns - 1)
    lines = [
        tuple(map(int, record.payload.split(b":")))
        for record in decode(replicas[0].records(SESSION))
    ]
    assert lines == sorted(lines), "turn after turn, and each from its first to its last"
    assert [number for turn, number in lines if turn == turns - 1] == list(range(50))


def wrappers(
    server: Server,
    url: str,
    spool: Path,
    chance: random.Random,
    size: int = 3_000_000,
    pause_ms: int = 20,
) -> list[WrappedWriter]:
    """One of each kind."""
    return [
        WrappedWriter(
            server, spool, way, chance.randrange(2**31), size * FACTOR,
            url=url, pause_ms=pause_ms, exit=status,
        )
        for status, way in enumerate(WAYS)
    ]  # fmt: skip


def check_all(runs: list[WrappedWriter], servers: list[Server]) -> None:
    """Everybody ended as bare, and each backend has all that they wrote."""
    for status, run in enumerate(runs):
        run.check_bare(status)
    for status, run in enumerate(runs):
        for server in servers:
            run.check_complete(server, status)


def let_go_on(chance: random.Random, least_s: float, most_s: float) -> None:
    """Until the next fault. Its moment is drawn, and nothing is waited for: it is to hit any state that
    backends and shippers may be in, and their states can't be seen from here."""
    time.sleep(chance.uniform(least_s, most_s))


def test_killed_backend_loses_nothing(
    tmp_path: Path, replicas: list[Server], chance: random.Random
) -> None:
    """kill -9 of one after the other; shippers go on at the others meanwhile."""
    with Balancer(replicas, chance) as balancer:
        runs = wrappers(replicas[0], balancer.url(), tmp_path / "spool", chance)
        kills = 0
        for _ in range(4 * FACTOR):
            victim = chance.choice(replicas)
            kills += kill_now_and_then(victim, chance, 1, lambda: any(r.is_running for r in runs))
        assert kills >= 2, "the test must have killed some"
        check_all(runs, replicas)


def test_killed_database_loses_nothing(
    tmp_path: Path, replicas: list[Server], postgres: Postgres, chance: random.Random
) -> None:
    """kill -9 of all of Postgres, and its start: what was acknowledged is there."""
    with Balancer(replicas, chance) as balancer:
        runs = wrappers(replicas[0], balancer.url(), tmp_path / "spool", chance)
        until(lambda: any(held(replicas[0], run) for run in runs), "something is stored")
        for _ in range(3 * FACTOR):
            let_go_on(chance, 0.1, 1.0)
            postgres.kill()
            let_go_on(chance, 0.0, chance.choice([0.0, 1.0]))
            postgres.start()
        check_all(runs, replicas)


def test_frozen_database_loses_and_repeats_nothing(
    tmp_path: Path, replicas: list[Server], postgres: Postgres, chance: random.Random
) -> None:
    """For longer than a backend waits for an answer, here 1 s and not 20: so it gives commits up that
    are stored all the same, or not. ``PTYSHIPPER_LONG=1`` freezes it for 30 s, with the real limits."""
    if not LONG:
        for server in replicas:
            server.kill()
            server.start(preamble=IMPATIENT)
    with Balancer(replicas, chance) as balancer:
        runs = wrappers(replicas[0], balancer.url(), tmp_path / "spool", chance)
        for _ in range(3):
            until(lambda: any(held(replicas[0], run) for run in runs), "something is stored")
            let_go_on(chance, 0.0, 0.5)
            postgres.freeze()
            # Longer than a backend waits for an answer, and long enough that it has tried anew.
            time.sleep(30 if LONG else 3)
            postgres.thaw()
        if not LONG:
            # What is checked now is no matter of time; this machine may need its second.
            for server in replicas:
                server.kill()
                server.start()
        check_all(runs, replicas)


def held(server: Server, run: WrappedWriter) -> int:
    """How much of its output is stored; 0 while that can't be told."""
    try:
        return sum(session["bytes"] for session in sessions_of(server, run.deployment_id))
    except (KeyError, TypeError):
        return 0  # 503


def test_everything_at_once(
    tmp_path: Path, replicas: list[Server], postgres: Postgres, chance: random.Random
) -> None:
    """Connections cut anywhere, backends killed, Postgres killed and frozen."""
    with Balancer(replicas, chance, fates(chance, 20 * FACTOR)) as balancer:
        runs = wrappers(replicas[0], balancer.url(), tmp_path / "spool", chance)
        for _ in range(4 * FACTOR):
            match chance.choice(["backend", "killed", "frozen"]):
                case "backend":
                    kill_now_and_then(chance.choice(replicas), chance, 1, lambda: True)
                case "killed":
                    postgres.kill()
                    postgres.start()
                case _:
                    postgres.freeze()
                    let_go_on(chance, 0.1, 1.0)
                    postgres.thaw()
        check_all(runs, replicas)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a disk")
def test_full_disk_of_the_database_loses_nothing(tmp_path: Path, chance: random.Random) -> None:
    """Nothing is acknowledged while it is full; when there is room again, all of it is stored. An empty
    database takes half of this disk."""
    with running_postgres() as postgres:
        disk = postgres.directory / "disk"
        disk.mkdir()
        owner = postgres.directory.stat().st_uid
        options = f"size=16m,mode=700,uid={owner}"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
            pytest.skip("needs to mount a disk")
        try:
            postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            with postgres.database("TABLESPACE small") as url:
                fill_and_make_room(tmp_path, url, disk, chance)
            postgres.execute("DROP TABLESPACE small")
        finally:
            postgres.stop()
            subprocess.run(["umount", str(disk)], check=True)


def fill_and_make_room(tmp_path: Path, url: str, disk: Path, chance: random.Random) -> None:
    server = next(make_replicas(tmp_path, url))
    server.start()
    try:
        url = server.state.url + INGEST_PATH
        runs = wrappers(server, url, tmp_path / "spool", chance, size=5_000_000, pause_ms=5)
        until(lambda: "No space left on device" in server.log_path.read_text(), "the disk is full")
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        check_all(runs, [server])
    finally:
        kill_all()
        server.kill()
