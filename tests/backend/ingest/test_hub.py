"""The hub: one connection a session, and a session's stored state never says what is not so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptyshipper.backend.digest import digest
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.hub import ALIVE_EVERY_S, SWEEP_AT_A_TIME, Hub
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from tests.support.server import describe, output

LINE = output(b"hi\n")


class FakeShipper:
    """A connection that notes what it is told to do."""

    def __init__(self, hub: Hub, session_id: bytes | None = None) -> None:
        self.ingest = core.Ingest(0.0)
        self.done: list[core.Command] = []
        self.hub = hub
        self.session: Session | None = None
        hub.connected(self)
        if session_id is not None:
            self.do(self.ingest.received(messages.hello(session_id, describe()), 0.0))

    def do(self, commands: list[core.Command]) -> None:
        for command in commands:
            if isinstance(command, core.Open):
                self.session = self.hub.open(self, command, 0.0)
            elif isinstance(command, core.Append):
                assert self.session is not None
                self.hub.append(self, self.session, command)
            else:
                self.done.append(command)

    def send(self, offset: int, records: bytes) -> None:
        self.do(self.ingest.received(messages.batch(offset, records), 0.0))

    @property
    def close_code(self) -> CloseCode | None:
        return next(
            (command.code for command in self.done if isinstance(command, core.Close)), None
        )


class Bench:
    def __init__(self, data_dir: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = SqliteStore(data_dir)
        self.committer = Committer(self.store, Fanout(), self.loop)
        self.hub = Hub(self.store, self.committer)

    def sweep(self, now_s: float) -> None:
        self.loop.run_until_complete(self.hub.sweep(now_s))

    def stored(self, session_id: bytes) -> Session:
        session = self.store.load(session_id)
        assert session is not None
        return session

    def fill_the_disk(self) -> None:
        pages = self.store._db.execute("PRAGMA page_count").fetchone()[0]
        self.store._db.execute(f"PRAGMA max_page_count = {pages}")

    def free_the_disk(self) -> None:
        self.store._db.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()
    made.loop.close()


def test_newer_connection_is_welcomed_at_what_the_older_one_brought(bench: Bench) -> None:
    """Although no commit had come yet; the older one is closed and its farewell changes nothing."""
    session_id = os.urandom(16)
    older = FakeShipper(bench.hub, session_id)
    older.send(0, LINE)
    newer = FakeShipper(bench.hub, session_id)
    assert older.close_code is CloseCode.REPLACED
    assert core.Send(messages.welcome(len(LINE), core.MAX_WINDOW_BYTES)) in newer.done
    bench.hub.disconnected(older, older.session)
    bench.committer.commit()
    assert bench.stored(session_id).connected
    bench.hub.disconnected(newer, newer.session)
    bench.committer.commit()
    assert not bench.stored(session_id).connected


def test_batch_of_a_replaced_connection_is_dropped(bench: Bench) -> None:
    """Even one that its core had let through."""
    session_id = os.urandom(16)
    older = FakeShipper(bench.hub, session_id)
    newer = FakeShipper(bench.hub, session_id)
    assert older.session is not None
    bench.hub.append(older, older.session, core.Append(0, LINE, digest(LINE, 0)))
    newer.send(0, LINE)
    bench.committer.commit()
    assert bench.stored(session_id).next_offset == len(LINE)


def test_failed_commit_closes_its_sessions_and_rolls_them_back(bench: Bench) -> None:
    """They are told 4503, another one goes on, and who comes back is welcomed at what is stored."""
    victim_id, other_id = os.urandom(16), os.urandom(16)
    victim, other = FakeShipper(bench.hub, victim_id), FakeShipper(bench.hub, other_id)
    victim.send(0, LINE)
    bench.committer.commit()
    bench.fill_the_disk()
    victim.send(len(LINE), output(b"x" * 60_000))
    bench.committer.commit()
    assert victim.close_code is CloseCode.STORE
    assert other.close_code is None
    bench.free_the_disk()
    again = FakeShipper(bench.hub, victim_id)
    assert core.Send(messages.welcome(len(LINE), core.MAX_WINDOW_BYTES)) in again.done


def test_session_that_was_lost_with_a_commit_is_not_connected_for_ever(bench: Bench) -> None:
    """Its row said connected when the write that should have changed it failed."""
    session_id = os.urandom(16)
    victim = FakeShipper(bench.hub, session_id)
    bench.committer.commit()
    bench.fill_the_disk()
    victim.send(0, output(b"x" * 60_000))
    bench.committer.commit()
    bench.hub.disconnected(victim, victim.session)
    assert bench.stored(session_id).connected
    bench.free_the_disk()
    bench.sweep(1.0)
    bench.committer.commit()
    assert not bench.stored(session_id).connected


def test_sweep_closes_the_silent_and_lets_others_run_meanwhile(bench: Bench) -> None:
    silent = [FakeShipper(bench.hub) for _ in range(3 * SWEEP_AT_A_TIME)]
    speaking = FakeShipper(bench.hub, os.urandom(16))
    closed_at_turn: list[int] = []

    async def count() -> None:
        while True:
            closed_at_turn.append(sum(each.close_code is not None for each in silent))
            await asyncio.sleep(0)

    counting = bench.loop.create_task(count())
    bench.sweep(core.HELLO_WITHIN_S)
    counting.cancel()
    assert {each.close_code for each in silent} == {CloseCode.TOO_SLOW}
    assert speaking.close_code is None
    assert len(set(closed_at_turn)) >= 3


def test_backend_notes_that_it_is_alive_while_somebody_is_connected(bench: Bench) -> None:
    """So that after a crash its sessions were seen until shortly before."""

    def alive_us() -> int:
        noted: int = bench.store._db.execute("SELECT alive_us FROM server").fetchone()[0]
        return noted

    bench.sweep(ALIVE_EVERY_S)
    assert alive_us() == 0
    FakeShipper(bench.hub, os.urandom(16))
    bench.sweep(2 * ALIVE_EVERY_S)
    assert alive_us() > 0


def test_stopping_stores_acknowledges_and_sends_away(bench: Bench) -> None:
    """Who connects afterwards is sent away at once."""
    shipper = FakeShipper(bench.hub, os.urandom(16))
    shipper.send(0, LINE)
    bench.hub.stop()
    assert shipper.done[1:] == [
        core.Acknowledge(len(LINE)),
        core.Close(CloseCode.RESTARTING, "the backend restarts"),
    ]
    assert FakeShipper(bench.hub).close_code is CloseCode.RESTARTING


def test_description_is_the_first_one(bench: Bench) -> None:
    session_id = os.urandom(16)
    FakeShipper(bench.hub, session_id)
    bench.committer.commit()
    assert bench.stored(session_id).description == read_description(describe())
