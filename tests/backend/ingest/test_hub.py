"""The hub: one connection a session, and a session's stored state never says what is not so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.digest import digest
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest import core, hub
from ptyshipper.backend.ingest.allowance import (
    BULK_WAITING_BYTES,
    FULL,
    FULL_RETRY_S,
    WAITING_BYTES,
    Allowance,
    Limits,
)
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.hub import ALIVE_EVERY_S, SWEEP_AT_A_TIME, Hub
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store.base import DEAD_AFTER_US, Committed, Opening
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode, retry_after_s
from tests.support.server import describe, output

LINE = output(b"hi\n")


class FakeShipper:
    """A connection that notes what it is told to do."""

    def __init__(
        self, bench: Bench, session_id: bytes | None = None, deployment_id: int = 7
    ) -> None:
        self.ingest = core.Ingest(0.0)
        self.done: list[core.Command] = []
        self.bench = bench
        self.session: Session | None = None
        bench.hub.connected(self)
        if session_id is not None:
            about = describe(deployment_id=deployment_id)
            self.do(self.ingest.received(messages.hello(session_id, about), 0.0))

    def do(self, commands: list[core.Command]) -> None:
        for command in commands:
            if isinstance(command, core.Open):
                self.bench.hub.open(self, command)
            elif isinstance(command, core.Append):
                assert self.session is not None
                self.bench.hub.append(self, self.session, command)
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
    """A hub on a store of its own."""

    def __init__(self, data_dir: Path, limits: Limits | None = None) -> None:
        self.store, self.counts = SqliteStore(data_dir), Counts()
        self.committer = Committer(self.store, Fanout(), asyncio.get_running_loop(), self.counts)
        self.hub = Hub(self.store, self.committer, Allowance(limits or Limits()), self.counts)

    async def open(self, session_id: bytes) -> FakeShipper:
        """A connection that was welcomed."""
        shipper = FakeShipper(self, session_id)
        await self.settle()
        return shipper

    async def settle(self) -> None:
        """Everything is committed, and told to whom it concerns."""
        await self.committer.flush()
        await asyncio.sleep(0)

    async def stored(self, session_id: bytes) -> Session:
        session = await self.store.load(session_id)
        assert session is not None
        return session

    def fill_the_disk(self) -> None:
        pages = self.store._db.execute("PRAGMA page_count").fetchone()[0]
        self.store._db.execute(f"PRAGMA max_page_count = {pages}")

    def free_the_disk(self) -> None:
        self.store._db.execute("PRAGMA max_page_count = 1000000")


Scenario = Callable[[Bench], Coroutine[None, None, None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario on a fresh bench."""

    async def main(scenario: Scenario) -> None:
        bench = Bench(tmp_path)
        await scenario(bench)
        await bench.committer.flush()
        await bench.store.close()

    return lambda scenario: asyncio.run(main(scenario))


Run = Callable[[Scenario], None]


def test_newer_connection_is_welcomed_at_what_the_older_one_brought(run: Run) -> None:
    """Although no commit had come yet; the older one is closed and its farewell changes nothing."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        older = await bench.open(session_id)
        older.send(0, LINE)
        newer = await bench.open(session_id)
        assert older.close_code is CloseCode.REPLACED
        assert core.Send(messages.welcome(len(LINE), core.MAX_WINDOW_BYTES)) in newer.done
        bench.hub.disconnected(older)
        await bench.settle()
        assert (await bench.stored(session_id)).connected
        bench.hub.disconnected(newer)
        await bench.settle()
        assert not (await bench.stored(session_id)).connected

    run(scenario)


def test_batch_of_a_replaced_connection_is_dropped(run: Run) -> None:
    """Even one that its core had let through."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        older = await bench.open(session_id)
        newer = await bench.open(session_id)
        assert older.session is not None
        bench.hub.append(older, older.session, core.Append(0, LINE, digest(LINE, 0)))
        newer.send(0, LINE)
        await bench.settle()
        assert (await bench.stored(session_id)).next_offset == len(LINE)

    run(scenario)


def test_connection_of_another_backend_takes_over(run: Run) -> None:
    """By a later epoch in the store: what this one brings is refused, and it is told so."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        mine = await bench.open(session_id)
        about = read_description(describe())
        await bench.store.commit([], [Opening(session_id, about, None, False, 1)])
        mine.send(0, LINE)
        await bench.settle()
        assert mine.close_code is CloseCode.REPLACED
        assert core.Acknowledge(len(LINE)) not in mine.done
        bench.hub.disconnected(mine)
        await bench.settle()
        stored = await bench.stored(session_id)
        assert (stored.next_offset, stored.connected) == (0, True)

    run(scenario)


def test_who_left_before_its_session_was_looked_for_leaves_nothing(run: Run) -> None:
    """While a database hangs, many may come and go."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        hasty = FakeShipper(bench, session_id)
        bench.hub.disconnected(hasty)
        await bench.settle()
        assert await bench.store.load(session_id) is None
        assert hasty.done == []

    run(scenario)


def test_who_left_before_the_welcome_is_not_connected(run: Run) -> None:
    """Its session is stored by then; the answer finds nobody."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        hasty = FakeShipper(bench, session_id)
        commit = bench.store.commit

        async def leave_meanwhile(*asked: Any) -> Committed:
            done = await commit(*asked)
            bench.store.commit = commit  # type: ignore[method-assign]
            bench.hub.disconnected(hasty)
            return done

        bench.store.commit = leave_meanwhile  # type: ignore[method-assign]
        await bench.settle()
        await bench.settle()
        assert not (await bench.stored(session_id)).connected
        assert hasty.done == []

    run(scenario)


def test_of_two_hellos_at_once_the_later_is_welcomed(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        first, second = FakeShipper(bench, session_id), FakeShipper(bench, session_id)
        await bench.settle()
        assert first.close_code is CloseCode.REPLACED
        assert second.session is not None
        second.send(0, LINE)
        await bench.settle()
        assert core.Acknowledge(len(LINE)) in second.done

    run(scenario)


def test_second_hello_before_the_welcome_opens_nothing(run: Run) -> None:
    """One connection is one session's, or another's would be fed with its records, and stay connected
    for ever."""

    async def scenario(bench: Bench) -> None:
        first, second = os.urandom(16), os.urandom(16)
        shipper = FakeShipper(bench, first)
        shipper.do(shipper.ingest.received(messages.hello(second, describe()), 0.0))
        assert shipper.close_code == CloseCode.MALFORMED
        await bench.settle()
        bench.hub.disconnected(shipper)
        await bench.settle()
        assert bench.hub.sessions == 0
        assert await bench.store.load(second) is None
        assert not (await bench.stored(first)).connected

    run(scenario)


def test_another_deployment_s_hello_throws_nobody_out(run: Run) -> None:
    """Who is told that a newer connection took over gives up for good."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        owner = await bench.open(session_id)
        bench.hub.disconnected(owner)
        await bench.settle()
        back = FakeShipper(bench, session_id)
        stranger = FakeShipper(bench, session_id, deployment_id=8)
        await bench.settle()
        assert back.close_code is None
        assert stranger.close_code == CloseCode.STORE
        assert (await bench.open(session_id)).close_code is None

    run(scenario)


def test_failed_commit_closes_its_sessions_and_rolls_them_back(run: Run) -> None:
    """They are told 4503, another one goes on, and who comes back is welcomed at what is stored."""

    async def scenario(bench: Bench) -> None:
        victim_id = os.urandom(16)
        victim, other = await bench.open(victim_id), await bench.open(os.urandom(16))
        victim.send(0, LINE)
        await bench.settle()
        bench.fill_the_disk()
        victim.send(len(LINE), output(b"x" * 60_000))
        await bench.settle()
        assert victim.close_code is CloseCode.STORE
        assert other.close_code is None
        bench.free_the_disk()
        again = await bench.open(victim_id)
        assert core.Send(messages.welcome(len(LINE), core.MAX_WINDOW_BYTES)) in again.done

    run(scenario)


def test_session_that_was_lost_with_a_commit_is_not_connected_for_ever(run: Run) -> None:
    """Its row said connected when the write that should have changed it failed."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        victim = await bench.open(session_id)
        bench.fill_the_disk()
        victim.send(0, output(b"x" * 60_000))
        await bench.settle()
        bench.hub.disconnected(victim)
        assert (await bench.stored(session_id)).connected
        bench.free_the_disk()
        await bench.hub.sweep(1.0)
        await bench.settle()
        assert not (await bench.stored(session_id)).connected

    run(scenario)


def test_sweep_closes_the_silent_and_lets_others_run_meanwhile(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        speaking = await bench.open(os.urandom(16))
        silent = [FakeShipper(bench) for _ in range(3 * SWEEP_AT_A_TIME)]
        closed_at_turn: list[int] = []

        async def count() -> None:
            while True:
                closed_at_turn.append(sum(each.close_code is not None for each in silent))
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await bench.hub.sweep(core.HELLO_WITHIN_S)
        counting.cancel()
        assert {each.close_code for each in silent} == {CloseCode.TOO_SLOW}
        assert speaking.close_code is None
        assert len(set(closed_at_turn)) >= 3

    run(scenario)


def test_backend_notes_now_and_then_that_it_is_alive(run: Run) -> None:
    """So that after a crash its sessions were seen until shortly before."""

    async def scenario(bench: Bench) -> None:
        noted: list[int] = []

        async def note(now_us: int) -> None:
            noted.append(now_us)

        bench.store.note_alive = note  # type: ignore[method-assign]
        for now_s in (ALIVE_EVERY_S, ALIVE_EVERY_S + 1, 2 * ALIVE_EVERY_S):
            await bench.hub.sweep(now_s)
        assert len(noted) == 2

    run(scenario)


def test_stopping_stores_acknowledges_and_sends_away(run: Run) -> None:
    """Who connects afterwards is sent away at once."""

    async def scenario(bench: Bench) -> None:
        shipper = await bench.open(os.urandom(16))
        shipper.send(0, LINE)
        await bench.hub.stop()
        assert shipper.done[1:] == [
            core.Acknowledge(len(LINE)),
            core.Close(CloseCode.RESTARTING, "the backend restarts"),
        ]
        assert FakeShipper(bench).close_code is CloseCode.RESTARTING

    run(scenario)


def test_what_comes_while_stopping_is_left_to_the_next_backend(run: Run) -> None:
    """A busy shipper would else keep the end waiting for ever; what gets no ACK is sent again."""

    async def scenario(bench: Bench) -> None:
        shipper, late = await bench.open(os.urandom(16)), FakeShipper(bench)
        shipper.send(0, LINE)
        commit = bench.store.commit

        async def send_meanwhile(*asked: Any) -> Committed:
            shipper.send(len(LINE), LINE)
            late.do(late.ingest.received(messages.hello(os.urandom(16), describe()), 0.0))
            return await commit(*asked)

        bench.store.commit = send_meanwhile  # type: ignore[method-assign]
        await bench.hub.stop()
        assert core.Acknowledge(len(LINE)) in shipper.done
        assert core.Acknowledge(2 * len(LINE)) not in shipper.done
        assert {shipper.close_code, late.close_code} == {CloseCode.RESTARTING}
        assert bench.committer.waiting_bytes == 0

    run(scenario)


def test_a_store_that_hangs_holds_the_end_up_no_longer_than_agreed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that is not stored."""
    monkeypatch.setattr(hub, "STOP_WITHIN_S", 0.01)

    async def scenario(bench: Bench) -> None:
        shipper = await bench.open(os.urandom(16))
        commit, thawed = bench.store.commit, asyncio.Event()

        async def hang(*asked: Any) -> Committed:
            done = await commit(*asked)
            await thawed.wait()
            return done

        bench.store.commit = hang  # type: ignore[method-assign]
        shipper.send(0, LINE)
        await bench.hub.stop()
        assert shipper.close_code is CloseCode.RESTARTING
        assert core.Acknowledge(len(LINE)) not in shipper.done
        thawed.set()

    run(scenario)


BULK = output(b"x" * 60_000)


async def flood(bench: Bench, shippers: list[FakeShipper]) -> None:
    """Each sends what its window lets it, or until it is closed."""
    for at in range(core.MAX_WINDOW_BYTES // len(BULK)):
        for shipper in shippers:
            if shipper.close_code is None:
                shipper.send(at * len(BULK), BULK)
        await asyncio.sleep(0)


def test_a_thousand_windows_into_a_store_that_hangs_are_a_bounded_memory(run: Run) -> None:
    """Who brings more is told when to come back; a quiet one still gets in. Once the store is back, what
    was taken is there, once, and everybody goes on where that ends."""

    async def scenario(bench: Bench) -> None:
        quiet = await bench.open(os.urandom(16))
        shippers = [await bench.open(os.urandom(16)) for _ in range(100)]
        commit, thawed = bench.store.commit, asyncio.Event()

        async def hang(*asked: Any) -> Committed:
            done = await commit(*asked)
            await thawed.wait()
            return done

        bench.store.commit = hang  # type: ignore[method-assign]
        await flood(bench, shippers)
        assert BULK_WAITING_BYTES - len(BULK) < bench.committer.waiting_bytes <= WAITING_BYTES
        refused = [each for each in shippers if each.close_code is not None]
        assert len(refused) > 50
        assert {each.close_code for each in refused} == {CloseCode.TRY_LATER}
        reasons = {c.reason for c in refused[0].done if isinstance(c, core.Close)}
        assert all(retry_after_s(reason) == FULL_RETRY_S for reason in reasons)
        assert bench.counts.refusals["shipper", "full"] == len(refused)
        quiet.send(0, LINE)
        assert quiet.close_code is None
        for each in refused:
            bench.hub.disconnected(each)
        thawed.set()
        await bench.settle()
        assert bench.committer.waiting_bytes == 0
        assert core.Acknowledge(len(LINE)) in quiet.done
        for each in shippers:
            assert each.session is not None
            stored = await bench.stored(each.session.id)
            chunks = await bench.store.chunks(stored.number, 0, 1 << 30)
            assert b"".join(chunk.records for chunk in chunks) == BULK * (
                stored.next_offset // len(BULK)
            )
            again = await bench.open(each.session.id)
            again.send(stored.next_offset, LINE)
            await bench.settle()
            assert core.Acknowledge(stored.next_offset + len(LINE)) in again.done

    run(scenario)


def test_while_it_is_full_nobody_else_gets_in(run: Run) -> None:
    """Neither at the upgrade nor, for who was upgraded before, at the HELLO."""

    async def scenario(bench: Bench) -> None:
        upgraded = FakeShipper(bench)
        bench.committer._pending_bytes += WAITING_BYTES
        assert bench.hub.turned_away(None) == bench.hub.turned_away(7) == FULL
        upgraded.do(upgraded.ingest.received(messages.hello(os.urandom(16), describe()), 0.0))
        assert upgraded.close_code is CloseCode.TRY_LATER
        bench.hub.disconnected(upgraded)
        bench.committer._pending_bytes -= WAITING_BYTES
        assert bench.hub.turned_away(7) is None
        assert (await bench.open(os.urandom(16))).close_code is None

    run(scenario)


def test_sessions_leave_room_for_others_however_they_leave(tmp_path: Path) -> None:
    """By their own will, replaced, or refused."""

    async def main() -> None:
        bench = Bench(tmp_path, Limits(max_sessions=2))
        first_id = os.urandom(16)
        first, second = await bench.open(first_id), await bench.open(os.urandom(16))
        third = await bench.open(os.urandom(16))
        assert third.close_code is CloseCode.TOO_MANY
        bench.hub.disconnected(third)
        assert (first.close_code, second.close_code) == (None, None)
        again = await bench.open(first_id)
        assert (first.close_code, again.close_code) == (CloseCode.REPLACED, None)
        for gone in (first, again, second):
            bench.hub.disconnected(gone)
        assert bench.hub.connections == bench.hub.sessions == 0
        for _ in range(2):
            assert (await bench.open(os.urandom(16))).close_code is None
        assert (await bench.open(os.urandom(16))).close_code is CloseCode.TOO_MANY
        await bench.settle()
        await bench.store.close()

    asyncio.run(main())


def test_description_is_the_first_one(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        await bench.open(session_id)
        about = read_description(describe(hostname="other"))
        await bench.store.commit([], [Opening(session_id, about, None, False, 1)])
        assert (await bench.stored(session_id)).description == read_description(describe())

    run(scenario)


def test_backend_that_was_asleep_says_anew_who_is_connected(run: Run) -> None:
    """Others have taken it for dead by then, and its sessions for nobody's; not before."""

    async def scenario(bench: Bench) -> None:
        session_id = os.urandom(16)
        await bench.open(session_id)
        in_time_s = ALIVE_EVERY_S + DEAD_AFTER_US / 2_000_000
        for now_s, connected in (
            (ALIVE_EVERY_S, False),
            (in_time_s, False),
            (in_time_s + DEAD_AFTER_US / 1_000_000, True),
        ):
            bench.store._db.execute("UPDATE sessions SET replica = NULL")
            await bench.hub.sweep(now_s)
            await bench.settle()
            assert (await bench.stored(session_id)).connected is connected

    run(scenario)
