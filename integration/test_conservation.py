"""What the backend holds is what the program wrote, once and in order, whatever dies or breaks between.

Everything here is random: what is written in which pieces, where connections are cut, when either end
is killed. A failing test shows its seed; ``PTYSHIPPER_SEED=<seed>`` makes the same choices again (not
the same timing). ``PTYSHIPPER_LONG=1`` makes each test go on for several times as long.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptyshipper.records import GapCause
from ptyshipper.spool.directory import UNFINISHED_PREFIX
from ptyshipper.spool.ledger import KEEP_RELEASED_S
from ptyshipper.wire.paths import INGEST_PATH
from tests.spool.spools import readdress
from tests.support import writer
from tests.support.patience import until
from tests.support.running import kill_all
from tests.support.server import Server, running_server
from tests.support.stored import Stored, only_session, sessions_of
from tests.support.tcp_proxy import GOOD, Fate, TcpProxy
from tests.support.wrapped_writer import WrappedWriter, by_descriptor

SEED = int(os.environ.get("PTYSHIPPER_SEED") or random.SystemRandom().randrange(1, 2**31))
LONG = os.environ.get("PTYSHIPPER_LONG") == "1"
FACTOR = 5 if LONG else 1
WAYS = ["pipes", "always", "terminal"]
"""stdout and stderr on pipes; each on a pty of its own; stdout on the terminal outside's twin."""


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    print(f"replay with PTYSHIPPER_SEED={SEED}")
    return random.Random(f"{SEED}/{request.node.name}")


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    kill_all()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Server]:
    """One of this test's own, to be killed."""
    with running_server(tmp_path) as server:
        yield server


def random_fate(chance: random.Random) -> Fate:
    """A cut at one of the kinds of places there are; a connection's handshake takes some 300 bytes up
    and 130 down, WELCOME 15 bytes and each ACK 11."""
    reset, delay_s = chance.random() < 0.3, chance.choice([0.0, 0.0, 0.0, 0.02])
    match chance.choice(["request", "answer", "welcome", "batch", "batch", "ack", "ack"]):
        case "request":
            return Fate(up_bytes=chance.randrange(330), reset=reset)
        case "answer":
            return Fate(down_bytes=chance.randrange(130), reset=reset)
        case "welcome":
            return Fate(down_bytes=chance.randrange(125, 150), reset=reset, delay_s=delay_s)
        case "batch":
            size = int(300_000 ** chance.random())
            return Fate(up_bytes=300 + size, reset=reset, delay_s=delay_s)
        case _:
            return Fate(down_bytes=chance.randrange(140, 600), reset=reset, delay_s=delay_s)


def fates(chance: random.Random, count: int) -> Callable[[int], Fate]:
    """The first ``count`` connections are cut somewhere; the rest live."""
    chosen = [random_fate(chance) for _ in range(count)]
    return lambda number: chosen[number] if number < count else GOOD


def test_cuts_anywhere_lose_and_repeat_nothing(
    tmp_path: Path, backend: Server, chance: random.Random
) -> None:
    """Wrappers of each kind at once, each connection but the last ones cut at a random byte."""
    for _ in range(FACTOR):
        count = 24
        with TcpProxy(backend_port(backend), fates(chance, count)) as proxy:
            runs = [
                WrappedWriter(
                    backend, tmp_path / "spool", way, chance.randrange(2**31), 3_000_000,
                    url=proxy.url(), pause_ms=chance.choice([5, 10]), exit=status,
                )
                for status, way in enumerate(WAYS)
            ]  # fmt: skip
            for status, run in enumerate(runs):
                run.check_bare(status)
            assert proxy.connections >= len(runs)
            assert proxy.cuts >= 6, "the test must have cut something"
        for status, run in enumerate(runs):
            run.check_complete(backend, status)


def backend_port(server: Server) -> int:
    return int(server.state.url.rpartition(":")[2])


def kill_now_and_then(
    server: Server, chance: random.Random, kills: int, goes_on: Callable[[], bool]
) -> int:
    """kill -9 the backend at random moments, for random times; how often it was done."""
    for done in range(kills):
        time.sleep(chance.uniform(0.1, 1.2))
        if not goes_on():
            return done
        server.kill()
        time.sleep(chance.choice([0.0, 0.0, chance.uniform(0, 0.6)]))
        server.start()
    return kills


def test_a_backend_killed_at_any_moment_has_everything_in_the_end(
    tmp_path: Path, backend: Server, chance: random.Random
) -> None:
    runs = [
        WrappedWriter(
            backend, tmp_path / "spool", way, chance.randrange(2**31), 4_000_000 * FACTOR,
            pause_ms=20, exit=7,
        )
        for way in WAYS
    ]  # fmt: skip
    kills = kill_now_and_then(backend, chance, 4 * FACTOR, lambda: any(r.is_running for r in runs))
    assert kills >= 2, "the test must have killed it"
    for run in runs:
        run.check_bare(7)
    for run in runs:
        run.check_complete(backend, 7)


def test_a_backend_that_lost_its_last_second_gets_it_again(
    tmp_path: Path, backend: Server, chance: random.Random
) -> None:
    """As after a power cut where the disk did not keep its word: an older state comes back, and a
    while later, as a restart takes. In the small spool that is in several segments."""
    go_on = tmp_path / "go on"
    run = WrappedWriter(
        backend, tmp_path / "spool", "pipes", chance.randrange(2**31), 4_000_000,
        pause_ms=1, settings={"spool_max_bytes": "8M"}, fds="1", wait=go_on, exit=9,
    )  # fmt: skip
    until(lambda: bytes_held(backend, run) > 100_000, "something is stored")
    backend.kill()
    shutil.copytree(backend.data_dir, tmp_path / "older")
    until(lambda: len(run.out) == 4_000_000, "all is written")
    backend.start()
    until(lambda: bytes_held(backend, run) == 4_000_000, "all is acknowledged, and at once")
    backend.kill()
    shutil.rmtree(backend.data_dir)
    shutil.copytree(tmp_path / "older", backend.data_dir)
    time.sleep(KEEP_RELEASED_S + 0.5)
    backend.start()
    go_on.touch()
    run.check_bare(9)
    run.check_complete(backend, 9)


def bytes_held(server: Server, run: WrappedWriter) -> int:
    return sum(session["bytes"] for session in sessions_of(server, run.deployment_id))


def start_and_kill(
    server: Server, spool: Path, chance: random.Random, url: str | None = None
) -> list[WrappedWriter]:
    """One or two wrappers in the same spool, killed at a random moment: in their start, or at work."""
    runs = [
        WrappedWriter(
            server, spool, chance.choice(WAYS), chance.randrange(2**31), 2**30,
            url=url, pause_ms=chance.choice([2, 10, 100]),
        )
        for _ in range(chance.choice([1, 1, 2]))
    ]  # fmt: skip
    at_work, moment_s = chance.random() < 0.5, chance.uniform(0, 1)
    if at_work:
        until(lambda: all(any(run.printed.values()) for run in runs), "every program has printed")
    time.sleep(moment_s if at_work else moment_s / 4)  # a start takes some 0.1 s
    for run in runs:
        run.kill()
    return runs


def check_killed(server: Server, runs: list[WrappedWriter]) -> None:
    """What was printed is stored, what is stored was written, and the session counts as cut."""
    for run in runs:
        sessions = sessions_of(server, run.deployment_id)
        printed = run.printed
        if not sessions:
            assert printed == {1: b"", 2: b""}, "killed before there was a session"
            continue
        (session,) = sessions
        stored = Stored(server, session)
        assert (session["state"], stored.gaps) == ("cut", []), f"{session}"
        for fd, data in by_descriptor(stored, run.way).items():
            assert data == writer.expected(run.seed, fd, len(data)), "stored as written"
            assert data.startswith(printed[fd]), "what was shown is stored"


def deliver_the_rest(server: Server, spool: Path) -> None:
    """A last wrapper that lives to its end: then nothing of anybody is left in the spool.

    It ships past the proxy, if there was one.
    """
    readdress(spool, server.state.url + INGEST_PATH)
    last = WrappedWriter(server, spool, "pipes", 1, 1_000)
    last.check_bare(0)
    last.check_complete(server, 0)
    # Who is killed while it makes its folder leaves one without a record, for prune() to take later.
    left = [path for path in spool.rglob("*") if path.is_file()]
    assert all(path.parent.name.startswith(UNFINISHED_PREFIX) for path in left), left


def test_a_killed_wrappers_records_are_delivered_by_the_next(
    tmp_path: Path, backend: Server, chance: random.Random
) -> None:
    """Wrapper after wrapper is killed with -9, also in the middle of delivering what another left."""
    killed = []
    for _ in range(8 * FACTOR):
        killed += start_and_kill(backend, tmp_path / "spool", chance)
    deliver_the_rest(backend, tmp_path / "spool")
    check_killed(backend, killed)
    assert sum(len(run.printed[1]) for run in killed) > 0


def test_everything_at_once(tmp_path: Path, backend: Server, chance: random.Random) -> None:
    """Connections cut, the backend killed, wrappers killed, all in one spool; some live through it."""
    spool = tmp_path / "spool"
    with TcpProxy(backend_port(backend), fates(chance, 20 * FACTOR)) as proxy:
        living = [
            WrappedWriter(
                backend, spool, way, chance.randrange(2**31), 3_000_000 * FACTOR,
                url=proxy.url(), pause_ms=20, exit=3,
            )
            for way in WAYS
        ]  # fmt: skip
        killed = []
        for _ in range(3 * FACTOR):
            killed += start_and_kill(backend, spool, chance, proxy.url())
            kill_now_and_then(backend, chance, 1, lambda: True)
        for run in living:
            run.check_bare(3)
    deliver_the_rest(backend, spool)
    for run in living:
        run.check_complete(backend, 3)
    check_killed(backend, killed)


@pytest.mark.parametrize("way", ["pipes", "terminal"])
def test_what_a_small_spool_dropped_is_counted_to_the_byte(
    tmp_path: Path, backend: Server, chance: random.Random, way: str
) -> None:
    """The backend is away while more is written than fits; then it is back, then away again."""
    proxy = TcpProxy(backend_port(backend))
    go_on = tmp_path / "go on"
    run = WrappedWriter(
        backend, tmp_path / "spool", way, chance.randrange(2**31), 6_000_000,
        url=proxy.url(), settings={"spool_max_bytes": "512K"}, fds="1", chunk=4_000,
        pause_ms=1, wait=go_on, exit=5,
    )  # fmt: skip
    until(lambda: len(run.out) > 100_000, "something is written")
    backend.kill()
    held = len(run.out)
    until(lambda: len(run.out) > held + 2_500_000, "more is written than the spool holds")
    backend.start()
    until(lambda: proxy.connections and bytes_held(backend, run) > held, "it is back")
    proxy.cut_all()
    until(lambda: len(run.out) == 6_000_000, "all is written")
    go_on.touch()
    run.check_bare(5)
    proxy.close()
    stored = only_session(backend, run.deployment_id)
    assert (stored.summary["state"], stored.summary["exit_code"]) == ("exited", 5)
    assert stored.lost_bytes > 1_000_000
    assert stored.causes == {GapCause.OVERFLOW}
    assert stored.summary["lost_bytes"] == stored.lost_bytes
    assert stored.summary["gaps"] == len(stored.gaps)
    stored.check_in_place(writer.written(run.side, run.seed)[1])
