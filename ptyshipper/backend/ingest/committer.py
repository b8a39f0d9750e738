"""Group commit: what all sessions brought, in one transaction; ACK and fan-out come after it.

The commit runs on the loop's own thread, so what is pending is never changed under it, and a
transaction that fails takes exactly the pending sessions with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ptyshipper.backend.digest import Digest
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest.pacing import Pacer
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.backend.store.base import Store, Write
from ptyshipper.errors import StoreError

COMMIT_BYTES = 8 << 20
"""Never more than this is pending: whoever brings the last byte of it pays for the commit."""

log = logging.getLogger("ptyshipper.backend")


class Outcome(Protocol):
    """Who is told how a session's writes fared."""

    def stored(self, session: Session, stored_bytes: int) -> None:
        """So many bytes of records became durable; ``session`` is as it is stored."""

    def lost(self, session_id: bytes) -> None:
        """The transaction failed: the store holds what it held before."""


class _Pending:
    """What one session brought since the last commit."""

    __slots__ = ("first", "last_time_us", "lines", "offset", "parts", "session", "stored_bytes")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.parts: list[bytes] = []
        self.offset = 0
        self.first: Digest | None = None
        self.last_time_us = 0
        self.lines = (0, 0, 0)
        self.stored_bytes = 0

    def append(self, offset: int, records: bytes, batch: Digest) -> None:
        session = self.session
        if self.first is None:
            self.first, self.offset = batch, offset
            self.lines = (session.stdout_lines, session.stderr_lines, session.tty_lines)
        self.parts.append(records)
        self.stored_bytes += len(records)
        self.last_time_us = max(self.last_time_us, batch.last_time_us)
        session.append(batch)

    def chunk(self) -> Chunk | None:
        if self.first is None:
            return None
        records = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        return Chunk(
            self.offset,
            self.session.next_offset,
            self.first.first_time_us,
            self.last_time_us,
            *self.lines,
            records,
        )


class Committer:
    """Gathers writes and commits them, as ``Pacer`` says when."""

    def __init__(self, store: Store, fanout: Fanout, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._fanout = fanout
        self._loop = loop
        self._pacer = Pacer(loop.time())
        self._pending: dict[bytes, _Pending] = {}
        self._pending_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._timer_due_s = 0.0
        self.outcome: Outcome | None = None

    def holds(self, session_id: bytes) -> bool:
        """Whether something of this session waits for the next commit."""
        return session_id in self._pending

    def append(self, session: Session, offset: int, records: bytes, batch: Digest) -> None:
        """Store a checked batch, and move ``session`` on over it."""
        self._of(session).append(offset, records, batch)
        self._pending_bytes += len(records)
        if self._pending_bytes >= COMMIT_BYTES:
            self.commit()
        else:
            self._schedule()

    def update(self, session: Session) -> None:
        """Store a session whose state changed without a record."""
        self._of(session)
        self._schedule()

    def _of(self, session: Session) -> _Pending:
        pending = self._pending.get(session.id)
        if pending is None:
            pending = self._pending[session.id] = _Pending(session)
        return pending

    def _schedule(self) -> None:
        now_s = self._loop.time()
        delay_s = self._pacer.delay_s(self._pending_bytes, now_s)
        if self._timer is not None:
            if self._timer_due_s <= now_s + delay_s:
                return
            self._timer.cancel()
        self._timer_due_s = now_s + delay_s
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, self.commit)
        else:
            # Not here and now: whoever else is ready in this turn of the loop shares the commit.
            self._timer = self._loop.call_soon(self.commit)

    def commit(self) -> None:
        """Commit what is pending, tell how it went, wake the viewers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = list(self._pending.values()), {}, 0
        writes = [Write(each.session, each.chunk()) for each in pending]
        outcome = self.outcome
        assert outcome is not None, "the hub sets itself as the outcome before anything is pending"
        try:
            self._store.commit(writes)
        except StoreError as error:
            log.error("%s; %d sessions have to send again", error, len(pending))
            for each in pending:
                outcome.lost(each.session.id)
            return
        finally:
            self._pacer.commit(self._loop.time())
        for write in writes:  # viewers first: an ACK may wait a moment, a reader's eye not
            self._fanout.publish(write.session.id, write.chunk)
        for each in pending:
            outcome.stored(each.session, each.stored_bytes)
