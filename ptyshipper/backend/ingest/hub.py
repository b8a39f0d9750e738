"""Which connection feeds which session, and what becomes of both."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import DEAD_AFTER_US, Opening, Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.closing import CloseCode

ALIVE_EVERY_S = 10.0
"""Well within the time after which a session without a connection counts as cut off."""

SWEEP_AT_A_TIME = 100

log = logging.getLogger("ptyshipper.backend")


class Shipper(Protocol):
    """A shipper's connection, as the hub sees it; ``session`` is None until it is opened."""

    ingest: core.Ingest
    session: Session | None

    def do(self, commands: list[core.Command]) -> None:
        """Carry out what its core decided."""


class Hub:
    """All connections of shippers. It is the ``Outcome`` of the committer."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer
        self._shippers: set[Shipper] = set()
        # Which connection feeds which session.
        self._live: dict[bytes, Shipper] = {}
        # Stored as connected although nobody is, by id and epoch: a write that should have said so
        # failed.
        self._misstated: dict[bytes, int] = {}
        self._alive_noted_s = 0.0
        self._stopping = False
        committer.outcome = self

    def connected(self, shipper: Shipper) -> None:
        self._shippers.add(shipper)
        if self._stopping:
            shipper.do(shipper.ingest.closed(CloseCode.RESTARTING, "the backend restarts"))

    def open(self, shipper: Shipper, command: core.Open, app_id: int | None = None) -> None:
        """Make ``shipper`` the one that feeds this session; another loses it."""
        opening = Opening(command.session_id, command.description, app_id, False, _wall_us())
        answer = self._committer.open(opening)
        answer.add_done_callback(lambda answer: self._opened(shipper, answer))

    def _opened(self, shipper: Shipper, answer: asyncio.Future[Session]) -> None:
        if answer.cancelled():
            self._replace(shipper)
            return
        if answer.exception() is not None:
            shipper.do(
                shipper.ingest.closed(CloseCode.STORE, "the store can't be used at the moment")
            )
            return
        session = answer.result()
        if shipper not in self._shippers:
            self._leave(session)
            return
        replaced = self._live.pop(session.id, None)
        if replaced is not None:
            self._replace(replaced)
        self._live[session.id] = shipper
        self._misstated.pop(session.id, None)
        shipper.session = session
        window_bytes = core.window_bytes(len(self._shippers))
        now_s = asyncio.get_running_loop().time()
        shipper.do(
            shipper.ingest.opened(
                session.next_offset, session.exited, session.open_lines, window_bytes, now_s
            )
        )

    @staticmethod
    def _replace(shipper: Shipper) -> None:
        shipper.do(shipper.ingest.closed(CloseCode.REPLACED, "a newer connection took over"))

    def _feeder(self, session: Session) -> Shipper | None:
        """The connection that feeds this session, in this epoch of it."""
        shipper = self._live.get(session.id)
        return shipper if shipper is not None and shipper.session is session else None

    def append(self, shipper: Shipper, session: Session, command: core.Append) -> None:
        """Store records of a session that this shipper feeds."""
        if self._feeder(session) is shipper:
            session.last_seen_us = _wall_us()
            self._committer.append(session, command.offset, command.records, command.digest)

    def mark_cut(self, shipper: Shipper, session: Session) -> None:
        """Nothing will follow in this session, although its program's exit was never told."""
        if self._feeder(session) is shipper:
            session.cut = True
            self._committer.update(session)

    def disconnected(self, shipper: Shipper) -> None:
        self._shippers.discard(shipper)
        session = shipper.session
        if session is not None and self._feeder(session) is shipper:
            del self._live[session.id]
            self._leave(session)

    def _leave(self, session: Session) -> None:
        session.connected, session.last_seen_us = False, _wall_us()
        self._committer.update(session)

    def stored(self, session: Session, offset: int, stored_bytes: int) -> None:
        shipper = self._feeder(session)
        if shipper is not None:
            shipper.do(shipper.ingest.committed(offset, stored_bytes))

    def lost(self, session: Session) -> None:
        self._misstated[session.id] = session.epoch
        shipper = self._feeder(session)
        if shipper is not None:
            del self._live[session.id]
            shipper.do(
                shipper.ingest.closed(CloseCode.STORE, "the store can't write at the moment")
            )

    def refused(self, session: Session) -> None:
        shipper = self._feeder(session)
        if shipper is not None:
            del self._live[session.id]
            self._replace(shipper)

    async def sweep(self, now_s: float) -> None:
        """Close who was silent for too long; once a second is often enough.

        A few at a time: ten thousand connections that time out together would hold up all others.
        """
        shippers = list(self._shippers)
        for at in range(0, len(shippers), SWEEP_AT_A_TIME):
            for shipper in shippers[at : at + SWEEP_AT_A_TIME]:
                shipper.do(shipper.ingest.tick(now_s))
            await asyncio.sleep(0)
        try:
            for session_id, epoch in list(self._misstated.items()):
                await self._restate(session_id, epoch)
            if now_s - self._alive_noted_s >= ALIVE_EVERY_S:
                await self._store.note_alive(_wall_us())
                if 0 < self._alive_noted_s < now_s - DEAD_AFTER_US / 2_000_000:
                    self._restate_all()
                self._alive_noted_s = now_s
        except StoreError as error:
            log.error("%s", error)

    def _restate_all(self) -> None:
        """This process may have been taken for dead, and its sessions for nobody's."""
        for shipper in self._live.values():
            if shipper.session is not None:
                self._committer.update(shipper.session)

    async def _restate(self, session_id: bytes, epoch: int) -> None:
        session = await self._store.load(session_id)
        # A later epoch is another connection's, and so is what is said about it.
        if session is not None and session.connected and session.epoch == epoch:
            self._leave(session)
        if self._misstated.get(session_id) == epoch:
            del self._misstated[session_id]

    async def stop(self) -> None:
        """Store what is pending, acknowledge it, and send everybody away (1012)."""
        self._stopping = True
        await self._committer.flush()
        for shipper in list(self._shippers):
            shipper.do(shipper.ingest.closed(CloseCode.RESTARTING, "the backend restarts"))


def _wall_us() -> int:
    return time.time_ns() // 1000
