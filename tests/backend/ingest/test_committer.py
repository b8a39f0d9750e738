"""Group commit: one transaction for all, and what fails is lost to exactly those it was for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.digest import NO_LINE, NO_LINES, digest
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest.committer import (
    COMMIT_BYTES,
    COMMIT_OPENINGS,
    COMMIT_WRITES,
    Committer,
    OpeningRefused,
)
from ptyshipper.backend.ingest.pacing import BURST, INTERVAL_S
from ptyshipper.backend.session import Chunk, Session, read_description
from ptyshipper.backend.store.base import Committed, Opening, Write
from ptyshipper.errors import StoreError
from ptyshipper.records import GapCause, Kind, encode
from ptyshipper.records import gap as gap_of
from tests.support.server import describe, output


class FakeStore:
    """Keeps what it is given, or refuses it, or takes as long as the test says."""

    def __init__(self) -> None:
        self.commits: list[list[tuple[Session, Chunk | None]]] = []
        self.openings: list[Opening] = []
        self.opened_at_once: list[int] = []
        self.full = False
        self.refuses: set[bytes] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
        await self.gate.wait()
        if self.full:
            raise StoreError("the disk is full")
        self.commits.append(list(writes))
        self.openings += openings
        self.opened_at_once.append(len(openings))
        refused = {at for at, write in enumerate(writes) if write.session.id in self.refuses}
        chunks = [None if at in refused else write.chunk for at, write in enumerate(writes)]
        opened = [
            None
            if each.session_id in self.refuses
            else Session(each.session_id, each.description, epoch=2)
            for each in openings
        ]
        return Committed(chunks, refused, opened)

    async def load(self, session_id: bytes) -> Session:
        """Every session is there, and deployment 7's."""
        return Session(session_id, read_description(describe(deployment_id=7)))


class Outcomes:
    """What the committer told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, str | int]] = []

    def stored(self, session: Session, offset: int, stored_bytes: int) -> None:
        self.told.append((session.id, offset))

    def lost(self, session: Session) -> None:
        self.told.append((session.id, "lost"))

    def refused(self, session: Session) -> None:
        self.told.append((session.id, "refused"))


class Bench:
    """A committer with everything around it faked."""

    def __init__(self) -> None:
        self.store, self.outcomes, self.fanout = FakeStore(), Outcomes(), Fanout()
        self.counts = Counts()
        loop = asyncio.get_running_loop()
        # A store that is asked for nothing but commits.
        self.committer = Committer(self.store, self.fanout, loop, self.counts)  # type: ignore[arg-type]
        self.committer.outcome = self.outcomes

    def append(self, session: Session, records: bytes) -> None:
        offset = session.next_offset
        batch = digest(records, offset, session.open_lines)
        self.committer.append(session, offset, records, batch)

    @property
    def stored_ids(self) -> list[list[bytes]]:
        return [[session.id for session, _ in commit] for commit in self.store.commits]


def make(number: int, epoch: int = 1) -> Session:
    return Session(number.to_bytes(16), read_description(describe()), epoch=epoch)


def opening(session: Session) -> Opening:
    return Opening(session.id, session.description, None, False, 0)


def run(scenario: Callable[[Bench], Coroutine[None, None, None]]) -> Bench:
    """Run ``scenario``, then let all that it began be committed."""

    async def main() -> Bench:
        bench = Bench()
        await scenario(bench)
        await bench.committer.flush()
        return bench

    return asyncio.run(main())


def test_what_comes_in_one_turn_is_one_commit_and_one_chunk_a_session() -> None:
    one, two = make(1), make(2)

    async def scenario(bench: Bench) -> None:
        for text in (b"a\n", b"b\n"):
            bench.append(one, output(text))
            bench.append(two, output(text))

    bench = run(scenario)
    (writes,) = bench.store.commits
    assert [session for session, _ in writes] == [one, two]
    chunk = writes[0][1]
    assert chunk is not None
    assert (chunk.first_offset, chunk.end_offset) == (0, one.next_offset)
    assert chunk.records == output(b"a\n") + output(b"b\n")
    assert (chunk.first_entry, chunk.end_entry) == (0, 2)
    assert bench.outcomes.told == [(one.id, 36), (two.id, 36)]


def test_chunk_knows_the_entries_before_it_and_the_lines_that_go_on() -> None:
    one = make(1)

    async def scenario(bench: Bench) -> None:
        bench.append(one, output(b"a\nb\nc"))
        await bench.committer.flush()
        bench.append(one, output(b"d\n"))

    chunk = run(scenario).store.commits[1][0][1]
    assert chunk is not None
    assert (chunk.first_entry, chunk.end_entry) == (2, 3)
    assert chunk.open_lines == (0, NO_LINE, NO_LINE)
    assert one.open_lines == NO_LINES


def test_viewers_see_a_chunk_only_once_it_is_stored() -> None:
    """And never one whose commit failed, or was refused."""
    one = make(1)

    async def scenario(bench: Bench) -> None:
        viewer = bench.fanout.subscribe(one.id)
        bench.append(one, output(b"a"))
        assert viewer.take(0) is None
        await bench.committer.flush()
        taken = viewer.take(0)
        assert taken is not None
        assert taken.records == output(b"a")
        bench.store.full = True
        bench.append(one, output(b"b"))
        await bench.committer.flush()
        bench.store.full, bench.store.refuses = False, {one.id}
        bench.append(one, output(b"c"))
        await bench.committer.flush()
        assert viewer.take(taken.end_offset) is None

    assert len(run(scenario).store.commits) == 2


def test_failed_commit_is_told_to_all_of_it_and_forgotten() -> None:
    """The next commit is another one."""
    one, two, later = make(1), make(2), make(3)

    async def scenario(bench: Bench) -> None:
        bench.store.full = True
        bench.append(one, output(b"a"))
        bench.committer.update(two)
        await bench.committer.flush()
        bench.store.full = False
        bench.append(later, output(b"c"))

    bench = run(scenario)
    assert bench.outcomes.told == [(one.id, "lost"), (two.id, "lost"), (later.id, 17)]
    assert bench.stored_ids == [[later.id]]


@pytest.mark.parametrize("fault", ["lost", "refused"])
def test_what_came_behind_something_that_was_not_stored_goes_with_it(fault: str) -> None:
    """It came while that commit was under way; other sessions' of the same time is stored."""
    one, other = make(1), make(2)

    async def scenario(bench: Bench) -> None:
        bench.store.gate.clear()
        bench.store.full = fault == "lost"
        bench.store.refuses = {one.id}
        bench.append(one, output(b"a"))
        while bench.committer._pending:
            await asyncio.sleep(0)
        bench.append(one, output(b"b"))
        bench.append(other, output(b"c"))
        bench.store.gate.set()
        while not bench.outcomes.told:
            await asyncio.sleep(0)
        bench.store.full = False
        await bench.committer.flush()

    bench = run(scenario)
    assert bench.outcomes.told == [(one.id, fault), (other.id, 17)]
    assert [ids for ids in bench.stored_ids if one.id not in ids] == [[other.id]]
    assert bench.committer._pending_bytes == 0


def test_acknowledged_is_what_was_committed_not_what_came_since() -> None:
    """The session moves on while its commit is under way."""
    one = make(1)

    async def scenario(bench: Bench) -> None:
        bench.store.gate.clear()
        bench.append(one, output(b"a"))
        while bench.committer._pending:
            await asyncio.sleep(0)
        bench.append(one, output(b"bb"))
        bench.store.gate.set()

    bench = run(scenario)
    assert bench.outcomes.told == [(one.id, 17), (one.id, 35)]


def test_one_commit_takes_no_more_than_its_bound() -> None:
    """The rest is in the next one."""
    batch = output(b"x" * 60_000)
    sessions = [make(number) for number in range(1, COMMIT_BYTES // len(batch) + 10)]

    async def scenario(bench: Bench) -> None:
        for session in sessions:
            bench.append(session, batch)

    commits = run(scenario).store.commits
    assert [len(commit) for commit in commits] == [COMMIT_BYTES // len(batch) + 1, 8]


def test_one_commit_takes_no_more_sessions_than_its_bound() -> None:
    """Neither of those that are written nor of those that are asked for; all get their turn, in order."""
    written = [make(number) for number in range(2 * COMMIT_WRITES + 1)]
    asked = [make(10_000 + number) for number in range(2 * COMMIT_OPENINGS + 1)]

    async def scenario(bench: Bench) -> None:
        for session in written:
            bench.committer.update(session)
        answers = [bench.committer.open(opening(session)) for session in asked]
        assert [session.id for session in await asyncio.gather(*answers)] == [s.id for s in asked]

    store = run(scenario).store
    assert [len(ids) for ids in store.commits] == [COMMIT_WRITES, COMMIT_WRITES, 1]
    assert store.opened_at_once == [COMMIT_OPENINGS, COMMIT_OPENINGS, 1]
    assert [session.id for commit in store.commits for session, _ in commit] == [
        session.id for session in written
    ]


def test_session_is_not_opened_before_what_the_bound_left_of_it() -> None:
    """Its records would be of an epoch that has passed, and be refused."""
    batch, last = output(b"x" * 60_000), make(200)

    async def scenario(bench: Bench) -> None:
        for number in range(COMMIT_BYTES // len(batch) + 1):
            bench.append(make(number), batch)
        bench.append(last, output(b"a"))
        await bench.committer.open(opening(last))
        assert (last.id, last.next_offset) in bench.outcomes.told

    assert run(scenario).store.opened_at_once == [0, 1]


def test_session_is_opened_behind_what_was_appended_to_it() -> None:
    one = make(1)

    async def scenario(bench: Bench) -> None:
        bench.append(one, output(b"a"))
        answer = bench.committer.open(opening(one))
        session = await answer
        assert session.epoch == 2
        assert bench.outcomes.told == [(one.id, 17)]

    bench = run(scenario)
    assert len(bench.store.commits) == 1


def test_of_two_who_open_a_session_the_later_has_it() -> None:
    """Before either was answered: the first is told, and the store is asked once."""
    one = make(1)

    async def scenario(bench: Bench) -> None:
        first, second = bench.committer.open(opening(one)), bench.committer.open(opening(one))
        assert (await second).id == one.id
        assert first.cancelled()

    assert len(run(scenario).store.openings) == 1


def test_opening_that_fails_says_so() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.full = True
        with pytest.raises(StoreError, match="full"):
            await bench.committer.open(opening(make(1)))

    run(scenario)


def test_flaw_costs_one_commit() -> None:
    """Whatever a store raises."""
    one, two = make(1), make(2)

    async def scenario(bench: Bench) -> None:
        proper = bench.store.commit

        async def flawed(writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
            raise ZeroDivisionError

        bench.store.commit = flawed  # type: ignore[method-assign]
        bench.append(one, output(b"a"))
        await bench.committer.flush()
        bench.store.commit = proper  # type: ignore[method-assign]
        bench.append(two, output(b"b"))

    assert run(scenario).outcomes.told == [(one.id, "lost"), (two.id, 17)]


def test_load_is_gathered() -> None:
    """A burst is committed message by message, what follows it waits for its interval."""
    one = make(1)

    async def main() -> tuple[int, float]:
        loop, bench = asyncio.get_running_loop(), Bench()
        begun_s = loop.time()
        for _ in range(5 * BURST):
            bench.append(one, output(b"x"))
            for _ in range(4):
                await asyncio.sleep(0)
        soon, took_s = len(bench.store.commits), loop.time() - begun_s
        await bench.committer.flush()
        assert bench.outcomes.told[-1] == (one.id, 5 * BURST * 17)
        return soon, took_s

    commits, took_s = asyncio.run(main())
    assert BURST <= commits <= BURST + 1 + took_s / INTERVAL_S


@pytest.mark.parametrize(
    ("deployment_id", "error"), [(7, "a later connection"), (8, "another deployment's")]
)
def test_opening_that_the_store_refuses_is_told_why(deployment_id: int, error: str) -> None:
    """A connection that came late may try again; to another deployment's session there is no way."""

    async def scenario(bench: Bench) -> None:
        about = read_description(describe(deployment_id=deployment_id))
        bench.store.refuses = {bytes(16)}
        with pytest.raises(StoreError, match=error) as refused:
            await bench.committer.open(Opening(bytes(16), about, None, False, 0))
        assert isinstance(refused.value, OpeningRefused) is (deployment_id == 8)

    run(scenario)


def test_what_is_held_counts_until_it_is_committed_or_lost() -> None:
    one, two = make(1), make(2)
    size = len(output(b"a"))

    async def scenario(bench: Bench) -> None:
        committer = bench.committer
        bench.store.gate.clear()
        bench.append(one, output(b"a"))
        assert committer.waiting_bytes == size
        await asyncio.sleep(0.02)  # it is under way now, and hangs
        bench.append(two, output(b"b"))
        assert committer.waiting_bytes == 2 * size
        bench.store.gate.set()
        await committer.flush()
        assert committer.waiting_bytes == 0
        bench.store.full = True
        bench.append(one, output(b"c"))
        await committer.flush()
        assert committer.waiting_bytes == 0
        bench.store.full = False

    run(scenario)


def test_an_answer_that_nobody_waits_for_is_not_asked_for() -> None:
    """Only that one: another connection may ask for the same session by then."""
    one = make(1)

    async def scenario(bench: Bench) -> None:
        older = bench.committer.open(opening(one))
        newer = bench.committer.open(opening(one))
        bench.committer.withdraw(one.id, older)
        await bench.committer.flush()
        assert (await newer).id == one.id
        bench.committer.withdraw(one.id, newer)
        gone = bench.committer.open(opening(one))
        bench.committer.withdraw(one.id, gone)
        await bench.committer.flush()
        assert len(bench.store.openings) == 1

    run(scenario)


def test_what_became_of_it_is_counted() -> None:
    """What was stored once, what was received as often as it came."""
    one, two = make(1), make(2)
    gap = encode(Kind.GAP, 1, gap_of(100, 90, GapCause.OVERFLOW))

    async def scenario(bench: Bench) -> None:
        bench.store.full = True
        bench.append(make(1), output(b"a\n"))
        await bench.committer.flush()
        bench.store.full = False
        bench.append(one, output(b"a\nb\n") + gap)
        bench.append(two, output(b"a\n", time_us=10))
        await bench.committer.flush()

    counts = run(scenario).counts
    stored = len(output(b"a\nb\n") + gap + output(b"a\n"))
    assert (counts.received_batches, counts.received_bytes) == (3, stored + len(output(b"a\n")))
    assert (counts.stored_bytes, counts.stored_entries) == (stored, 4)
    assert (counts.gaps, counts.lost_bytes) == (1, 90)
    assert counts.store_errors == {"commit": 1}
    assert (sum(counts.commit_s.counts), sum(counts.commit_bytes.counts)) == (1, 1)
    assert counts.commit_bytes.sum == stored
    assert sum(counts.ack_s.counts) == sum(counts.delay_s.counts) == 2
    assert counts.delay_s.sum > 86_400, "its shipper's clock says 2023"


def test_closing_stores_what_it_can_and_gives_up_what_hangs() -> None:
    """No commit is begun afterwards, although something waits."""
    one, two = make(1), make(2)

    async def scenario(bench: Bench) -> None:
        bench.append(one, output(b"a"))
        await bench.committer.close(60.0)
        assert bench.stored_ids == [[one.id]]

    run(scenario)

    async def hanging(bench: Bench) -> None:
        bench.store.gate.clear()
        bench.append(one, output(b"a"))
        await asyncio.sleep(0)
        bench.append(two, output(b"b"))
        await bench.committer.close(0.01)
        bench.store.gate.set()
        await asyncio.sleep(0)
        assert bench.store.commits == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def main() -> None:
        await hanging(Bench())

    asyncio.run(main())
