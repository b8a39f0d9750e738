"""Group commit: one transaction for all, and what fails is lost to exactly those it was for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ptyshipper.backend.digest import digest
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest.committer import COMMIT_BYTES, Committer
from ptyshipper.backend.ingest.pacing import BURST, INTERVAL_S
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store.base import Write
from ptyshipper.errors import StoreError
from tests.support.server import describe, output


class FakeStore:
    """Keeps what it is given, or refuses it."""

    def __init__(self) -> None:
        self.commits: list[list[Write]] = []
        self.full = False

    def commit(self, writes: Sequence[Write]) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.commits.append(list(writes))

    def load(self, session_id: bytes) -> Session | None:
        raise AssertionError("not the committer's business")

    def newest(self, limit: int, prefix: str = "", before: int | None = None) -> list[Session]:
        raise AssertionError("not the committer's business")

    def read(self, session: int, from_offset: int, max_bytes: int) -> tuple[int, int, bytes] | None:
        raise AssertionError("not the committer's business")

    def note_alive(self, now_us: int) -> None:
        raise AssertionError("not the committer's business")

    def close(self) -> None:
        pass


class Outcomes:
    """What the committer told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, int | None]] = []

    def stored(self, session: Session, stored_bytes: int) -> None:
        self.told.append((session.id, stored_bytes))

    def lost(self, session_id: bytes) -> None:
        self.told.append((session_id, None))


class Bench:
    """A committer with everything around it faked."""

    def __init__(self) -> None:
        self.store, self.outcomes, self.fanout = FakeStore(), Outcomes(), Fanout()
        self.committer = Committer(self.store, self.fanout, asyncio.get_running_loop())
        self.committer.outcome = self.outcomes

    def append(self, session: Session, records: bytes) -> None:
        offset = session.next_offset
        self.committer.append(session, offset, records, digest(records, offset))


def make(number: int) -> Session:
    return Session(bytes([number]) * 16, read_description(describe()))


def run(scenario: Callable[[Bench], object]) -> Bench:
    """Run ``scenario`` and let the loop turn until what it began is committed."""

    async def main() -> Bench:
        bench = Bench()
        scenario(bench)
        await asyncio.sleep(0.05)
        return bench

    return asyncio.run(main())


def test_what_comes_in_one_turn_is_one_commit_and_one_chunk_a_session() -> None:
    one, two = make(1), make(2)

    def scenario(bench: Bench) -> None:
        for text in (b"a\n", b"b\n"):
            bench.append(one, output(text))
            bench.append(two, output(text))

    bench = run(scenario)
    (writes,) = bench.store.commits
    assert [write.session for write in writes] == [one, two]
    chunk = writes[0].chunk
    assert chunk is not None
    assert (chunk.first_offset, chunk.end_offset) == (0, one.next_offset)
    assert chunk.records == output(b"a\n") + output(b"b\n")
    assert (chunk.stdout_line, one.stdout_lines) == (0, 2)
    assert bench.outcomes.told == [(one.id, 36), (two.id, 36)]


def test_chunk_knows_the_lines_before_it() -> None:
    one = make(1)

    def scenario(bench: Bench) -> None:
        bench.append(one, output(b"a\nb\n"))
        bench.committer.commit()
        bench.append(one, output(b"c\n"))

    chunk = run(scenario).store.commits[1][0].chunk
    assert chunk is not None
    assert (chunk.stdout_line, chunk.first_offset) == (2, len(output(b"a\nb\n")))


def test_viewers_see_a_chunk_only_once_it_is_stored() -> None:
    """And never one whose commit failed."""
    one = make(1)

    def scenario(bench: Bench) -> None:
        viewer = bench.fanout.subscribe(one.id)
        bench.append(one, output(b"a"))
        assert viewer.take(0) is None
        bench.committer.commit()
        taken = viewer.take(0)
        assert taken is not None
        assert taken.records == output(b"a")
        bench.store.full = True
        bench.append(one, output(b"b"))
        bench.committer.commit()
        assert viewer.take(taken.end_offset) is None

    assert len(run(scenario).store.commits) == 1


def test_failed_commit_is_told_to_all_of_it_and_forgotten() -> None:
    """The next commit is another one."""
    one, two, later = make(1), make(2), make(3)

    def scenario(bench: Bench) -> None:
        bench.store.full = True
        bench.append(one, output(b"a"))
        bench.committer.update(two)
        bench.committer.commit()
        bench.store.full = False
        bench.append(later, output(b"c"))

    bench = run(scenario)
    assert bench.outcomes.told == [(one.id, None), (two.id, None), (later.id, 17)]
    assert [[write.session.id for write in writes] for writes in bench.store.commits] == [
        [later.id]
    ]


def test_pending_bytes_are_bounded() -> None:
    """Whoever brings the last byte commits, before the loop turns again."""
    one, batch = make(1), output(b"x" * 60_000)

    def scenario(bench: Bench) -> None:
        for _ in range(COMMIT_BYTES // len(batch) + 1):
            assert not bench.store.commits
            bench.append(one, batch)
        assert len(bench.store.commits) == 1
        assert not bench.committer.holds(one.id)

    run(scenario)


def test_load_is_gathered() -> None:
    """A burst is committed message by message, what follows it waits for its interval."""
    one = make(1)

    async def main() -> tuple[int, float]:
        loop, bench = asyncio.get_running_loop(), Bench()
        begun_s = loop.time()
        for _ in range(5 * BURST):
            bench.append(one, output(b"x"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        soon, took_s = len(bench.store.commits), loop.time() - begun_s
        await asyncio.sleep(0.05)
        assert sum(stored or 0 for _, stored in bench.outcomes.told) == 5 * BURST * 17
        return soon, took_s

    commits, took_s = asyncio.run(main())
    assert BURST <= commits <= BURST + 1 + took_s / INTERVAL_S
