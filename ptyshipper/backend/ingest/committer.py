"""Group commit: what all sessions brought, in one transaction; ACK and fan-out come after it.

One commit is under way at a time, and what comes meanwhile waits for the next: a store that is slow
gets larger commits, not more of them. A transaction that fails takes with it exactly the sessions that
are in it, and what they brought since.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice
from typing import NamedTuple, Protocol

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.digest import Digest, OpenLines
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.faults import where
from ptyshipper.backend.ingest.pacing import Pacer
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.backend.store.base import Committed, Opening, Store, Write
from ptyshipper.errors import StoreError

COMMIT_BYTES = 4 << 20
"""A commit takes about so much at most: what comes behind it does not wait for long, and of ten shippers
with a window of 1 MiB each some send while the others' records are written."""

COMMIT_WRITES, COMMIT_OPENINGS = 1_000, 250
"""And of so many sessions, which are 30 ms of SQLite and of the loop: ten thousand shippers that come back
together, or go, would hold up everybody for ten times as long."""

log = logging.getLogger("ptyshipper.backend")


class OpeningRefused(StoreError):
    """There is such a session, and it is another deployment's."""


class WriteRefused(StoreError):
    """Another connection has the session by now."""


class Outcome(Protocol):
    """Who is told how a session's writes fared."""

    def stored(self, session: Session, offset: int, stored_bytes: int) -> None:
        """So many bytes of records became durable, all before ``offset``; of 0 bytes, only a state."""

    def lost(self, session: Session) -> None:
        """The transaction failed: the store holds what it held before."""

    def refused(self, session: Session) -> None:
        """A newer connection has the session, here or at another backend."""


class _Start(NamedTuple):
    """Where a chunk begins."""

    offset: int
    time_us: int
    entry: int
    open_lines: OpenLines


class _Pending:
    """What one session brought since the last commit."""

    __slots__ = (
        "gaps",
        "last_time_us",
        "lost_bytes",
        "parts",
        "session",
        "since_s",
        "start",
        "stored_bytes",
        "waiter",
    )

    def __init__(self, session: Session, now_s: float) -> None:
        self.session = session
        self.since_s = now_s
        self.parts: list[bytes] = []
        self.start: _Start | None = None
        self.last_time_us = 0
        self.stored_bytes = 0
        self.waiter: asyncio.Future[None] | None = None
        self.gaps = 0
        self.lost_bytes = 0

    def append(self, offset: int, records: bytes, batch: Digest) -> None:
        session = self.session
        if self.start is None:
            self.start = _Start(offset, batch.first_time_us, session.entries, session.open_lines)
        self.parts.append(records)
        self.stored_bytes += len(records)
        self.last_time_us = max(self.last_time_us, batch.last_time_us)
        self.gaps += batch.gaps
        self.lost_bytes += batch.lost_bytes
        session.append(batch)

    def chunk(self) -> Chunk | None:
        start = self.start
        if start is None:
            return None
        return Chunk(
            start.offset,
            self.session.next_offset,
            start.time_us,
            self.last_time_us,
            start.entry,
            self.session.entries,
            start.open_lines,
            self.parts[0] if len(self.parts) == 1 else b"".join(self.parts),
        )


class _Asked(NamedTuple):
    """A connection that waits for its session."""

    opening: Opening
    answer: asyncio.Future[Session]


def _owner(opening: Opening) -> tuple[int | None, bool]:
    """Whose opening of a session may be the same shipper's that is back."""
    return opening.description.deployment_id, opening.is_posted


_Key = tuple[bytes, int]
"""A session as one connection writes it: its id and epoch."""


class Committer:
    """Gathers writes and openings and commits them, as ``Pacer`` says when."""

    def __init__(
        self,
        store: Store,
        fanout: Fanout,
        loop: asyncio.AbstractEventLoop,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._loop = loop
        self._counts = counts or Counts()
        self._pacer = Pacer(loop.time())
        self._pending: dict[_Key, _Pending] = {}
        self._pending_bytes = 0
        self._committing_bytes = 0
        self._asked: dict[bytes, _Asked] = {}
        self._explaining: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_due_s = 0.0
        self._committing: asyncio.Task[None] | None = None
        self._is_closed = False
        self.outcome: Outcome | None = None

    @property
    def waiting_bytes(self) -> int:
        """Of records, that are held here until they are committed."""
        return self._pending_bytes + self._committing_bytes

    def open(self, opening: Opening) -> asyncio.Future[Session]:
        """Ask for a session, behind everything that was appended before.

        Returns:
            The session, as it is stored. OpeningRefused where it is another deployment's; StoreError
            where the store failed; cancelled where another connection asked for the same session
            before it came to that. Of two deployments that ask for one session at once only the store
            knows whose it is: the later asks again, after a StoreError.
        """
        answer: asyncio.Future[Session] = self._loop.create_future()
        older = self._asked.get(opening.session_id)
        if older is not None:
            if _owner(older.opening) != _owner(opening):
                answer.set_exception(StoreError("somebody else asks for the same session"))
                return answer
            del self._asked[opening.session_id]
            older.answer.cancel()
        self._asked[opening.session_id] = _Asked(opening, answer)
        self._schedule()
        return answer

    def withdraw(self, session_id: bytes, answer: asyncio.Future[Session]) -> None:
        """Nobody waits for this answer of ``open`` any more."""
        asked = self._asked.get(session_id)
        if asked is not None and asked.answer is answer:
            del self._asked[session_id]

    def append(self, session: Session, offset: int, records: bytes, batch: Digest) -> None:
        """Store a checked batch, and move ``session`` on over it."""
        self._of(session).append(offset, records, batch)
        self._pending_bytes += len(records)
        self._counts.received_batches += 1
        self._counts.received_bytes += len(records)
        self._schedule()

    def update(self, session: Session) -> None:
        """Store a session whose state changed without a record."""
        self._of(session)
        self._schedule()

    def durable(self, session: Session) -> asyncio.Future[None]:
        """Done when what was appended to ``session`` by now is committed.

        StoreError where that failed, WriteRefused where another connection has the session.
        """
        pending = self._of(session)
        if pending.waiter is None:
            pending.waiter = self._loop.create_future()
        return pending.waiter

    def _of(self, session: Session) -> _Pending:
        key = session.id, session.epoch
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(session, time.monotonic())
        return pending

    def _schedule(self) -> None:
        if self._committing is not None or self._is_closed:
            return  # the one that is under way looks again when it is done
        now_s = self._loop.time()
        delay_s = self._pacer.delay_s(self._pending_bytes, now_s)
        if self._timer is not None:
            if self._timer_due_s <= now_s + delay_s:
                return
            self._timer.cancel()
        self._timer_due_s = now_s + delay_s
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, self._begin)
        else:
            # Not here and now: whoever else is ready in this turn of the loop shares the commit.
            self._timer = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._committing is None and (self._pending or self._asked):
            self._committing = self._loop.create_task(self._commit(), name="commit")

    async def flush(self) -> None:
        """Return when all that was appended by now is committed, or lost."""
        while self._committing is not None or self._pending or self._asked:
            if self._timer is not None:
                self._timer.cancel()
            self._begin()
            assert self._committing is not None
            await asyncio.wait([self._committing])

    async def close(self, within_s: float) -> None:
        """Have ``within_s`` seconds for a last ``flush``; what is not stored by then is given up."""
        try:
            async with asyncio.timeout(within_s):
                await self.flush()
        except TimeoutError:
            pass
        self._is_closed = True
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait([self._committing])

    async def _commit(self) -> None:
        taken, asked = self._take(), self._take_asked()
        writes = [Write(each.session, each.chunk()) for each in taken]
        began_s = time.monotonic()  # the loop's own clock stands still while a store does not wait
        try:
            done = await self._store.commit(writes, [each.opening for each in asked])
        except StoreError as error:
            self._counts.store_errors["commit"] += 1
            log.error("%s; %d sessions have to send again", error, len(taken) + len(asked))
            self._fail(taken, asked, error)
        except Exception as error:
            # The last resort: a flaw of ours is to cost this commit, not every one that follows.
            log.error("a commit failed: %s", where(error))
            self._fail(taken, asked, StoreError("the backend failed unexpectedly"))
        else:
            self._counts.commit_s.observe(time.monotonic() - began_s)
            self._counts.commit_bytes.observe(self._committing_bytes)
            self._tell(taken, writes, asked, done)
        finally:
            self._pacer.commit(self._loop.time())
            self._committing = None
            self._committing_bytes = 0
            if self._pending or self._asked:
                self._schedule()

    def _take(self) -> list[_Pending]:
        """What waits longest, until that is ``COMMIT_BYTES`` or of ``COMMIT_WRITES``."""
        taken, taken_bytes = list[_Pending](), 0
        while self._pending and taken_bytes < COMMIT_BYTES and len(taken) < COMMIT_WRITES:
            pending = self._pending.pop(next(iter(self._pending)))
            taken.append(pending)
            taken_bytes += pending.stored_bytes
        self._pending_bytes -= taken_bytes
        self._committing_bytes = taken_bytes
        return taken

    def _take_asked(self) -> list[_Asked]:
        """Who waits longest for a session all of whose records are stored or being stored."""
        unwritten = {session_id for session_id, _ in self._pending}
        ready = (session_id for session_id in self._asked if session_id not in unwritten)
        return [self._asked.pop(each) for each in list(islice(ready, COMMIT_OPENINGS))]

    def _tell(
        self, taken: list[_Pending], writes: list[Write], asked: list[_Asked], done: Committed
    ) -> None:
        outcome = self.outcome
        assert outcome is not None, "the hub sets itself as the outcome before anything is pending"
        for index, write in enumerate(writes):  # viewers first: an ACK may wait, a reader's eye not
            if index not in done.refused:
                session = write.session
                self._fanout.publish(session.id, done.chunks[index])
        for waiting, opened in zip(asked, done.sessions, strict=True):
            if waiting.answer.done():
                continue
            if opened is None:
                explaining = self._loop.create_task(self._explain(waiting), name="refusal")
                self._explaining.add(explaining)
                explaining.add_done_callback(self._explaining.discard)
            else:
                self._fanout.publish(opened.id)
                waiting.answer.set_result(opened)
        now_s, now_us = time.monotonic(), time.time_ns() // 1000
        for index, each in enumerate(taken):
            if index in done.refused:
                self._lose(each, WriteRefused("another connection has the session"))
                outcome.refused(each.session)
            else:
                if each.waiter is not None and not each.waiter.done():
                    each.waiter.set_result(None)
                chunk = writes[index].chunk
                offset = chunk.end_offset if chunk else 0
                if chunk is not None:
                    self._count(each, chunk, now_s, now_us)
                outcome.stored(each.session, offset, each.stored_bytes)

    def _count(self, stored: _Pending, chunk: Chunk, now_s: float, now_us: int) -> None:
        counts = self._counts
        counts.stored_bytes += stored.stored_bytes
        counts.stored_entries += chunk.end_entry - chunk.first_entry
        counts.gaps += stored.gaps
        counts.lost_bytes += stored.lost_bytes
        counts.ack_s.observe(now_s - stored.since_s)
        recorded_us = stored.session.description.started_at_us + chunk.last_time_us
        counts.delay_s.observe(max(0, now_us - recorded_us) / 1e6)

    def _fail(self, taken: list[_Pending], asked: list[_Asked], error: StoreError) -> None:
        outcome = self.outcome
        assert outcome is not None
        for each in taken:
            self._lose(each, error)
            outcome.lost(each.session)
        for waiting in asked:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    async def _explain(self, refused: _Asked) -> None:
        """Why an opening was refused: one reason is for ever, the other passes."""
        asked, error = refused.opening, StoreError("a later connection has the session")
        try:
            stored = await self._store.load(asked.session_id)
        except StoreError as failure:
            error = failure
        else:
            if stored is not None and (
                stored.description.deployment_id != asked.description.deployment_id
                or stored.is_posted != asked.is_posted
            ):
                error = OpeningRefused("the session is another deployment's")
        if not refused.answer.done():
            refused.answer.set_exception(error)

    def _lose(self, lost: _Pending, error: StoreError) -> None:
        """What came behind something that was not stored can't be stored, either."""
        behind = self._pending.pop((lost.session.id, lost.session.epoch), None)
        if behind is not None:
            self._pending_bytes -= behind.stored_bytes
        for each in (lost, behind):
            if each is not None and each.waiter is not None and not each.waiter.done():
                each.waiter.set_exception(error)
