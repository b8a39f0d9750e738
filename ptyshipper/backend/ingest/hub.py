"""Which connection feeds which session, and what becomes of both."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.closing import CloseCode

ALIVE_EVERY_S = 10.0
"""Well within the time after which a session without a connection counts as cut off."""

SWEEP_AT_A_TIME = 100

log = logging.getLogger("ptyshipper.backend")


class Shipper(Protocol):
    """A shipper's connection, as the hub sees it."""

    ingest: core.Ingest

    def do(self, commands: list[core.Command]) -> None:
        """Carry out what its core decided."""


class _Live:
    """A session and the one connection that feeds it."""

    __slots__ = ("session", "shipper")

    def __init__(self, session: Session, shipper: Shipper) -> None:
        self.session = session
        self.shipper = shipper


class Hub:
    """All connections of shippers. It is the ``Outcome`` of the committer."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer
        self._shippers: set[Shipper] = set()
        self._live: dict[bytes, _Live] = {}
        # Stored as connected although nobody is: a write that should have said so failed.
        self._misstated: set[bytes] = set()
        self._alive_noted_s = 0.0
        self._stopping = False
        committer.outcome = self

    def connected(self, shipper: Shipper) -> None:
        self._shippers.add(shipper)
        if self._stopping:
            shipper.do(shipper.ingest.closed(CloseCode.RESTARTING, "the backend restarts"))

    def open(self, shipper: Shipper, command: core.Open, now_s: float) -> Session | None:
        """Make ``shipper`` the one that feeds this session; another loses it.

        Returns:
            The session, or None where the store failed and the shipper was told so.
        """
        session_id = command.session_id
        replaced = self._live.pop(session_id, None)
        if replaced is not None:
            replaced.shipper.do(
                replaced.shipper.ingest.closed(CloseCode.REPLACED, "a newer connection took over")
            )
        if self._committer.holds(session_id):
            # Only what is stored may be welcomed: what the older connection brought is stored first.
            self._committer.commit()
        try:
            session = self._store.load(session_id) or Session(session_id, command.description)
        except StoreError as error:
            log.error("%s", error)
            shipper.do(shipper.ingest.closed(CloseCode.STORE, "the store can't be read"))
            return None
        session.connected, session.last_seen_us = True, _wall_us()
        self._live[session_id] = _Live(session, shipper)
        self._misstated.discard(session_id)
        # The welcome goes first: the update may be committed at once, and fail.
        shipper.do(
            shipper.ingest.opened(
                session.next_offset,
                session.exited,
                core.window_bytes(len(self._shippers)),
                now_s,
            )
        )
        self._committer.update(session)
        return session

    def append(self, shipper: Shipper, session: Session, command: core.Append) -> None:
        """Store records of a session that this shipper feeds."""
        live = self._live.get(session.id)
        if live is None or live.shipper is not shipper:
            return
        session.last_seen_us = _wall_us()
        self._committer.append(session, command.offset, command.records, command.digest)

    def mark_cut(self, shipper: Shipper, session: Session) -> None:
        """Nothing will follow in this session, although its program's exit was never told."""
        live = self._live.get(session.id)
        if live is not None and live.shipper is shipper:
            session.cut = True
            self._committer.update(session)

    def disconnected(self, shipper: Shipper, session: Session | None) -> None:
        self._shippers.discard(shipper)
        if session is None:
            return
        live = self._live.get(session.id)
        if live is not None and live.shipper is shipper:
            del self._live[session.id]
            session.connected, session.last_seen_us = False, _wall_us()
            self._committer.update(session)

    def stored(self, session: Session, stored_bytes: int) -> None:
        live = self._live.get(session.id)
        if live is not None:
            live.shipper.do(live.shipper.ingest.committed(session.next_offset, stored_bytes))

    def lost(self, session_id: bytes) -> None:
        self._misstated.add(session_id)
        live = self._live.pop(session_id, None)
        if live is not None:
            live.shipper.do(
                live.shipper.ingest.closed(CloseCode.STORE, "the store can't write at the moment")
            )

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
            for session_id in list(self._misstated):
                self._restate(session_id)
            if self._live and now_s - self._alive_noted_s >= ALIVE_EVERY_S:
                self._alive_noted_s = now_s
                self._store.note_alive(_wall_us())
        except StoreError as error:
            log.error("%s", error)

    def _restate(self, session_id: bytes) -> None:
        self._misstated.discard(session_id)
        if session_id in self._live or self._committer.holds(session_id):
            return
        session = self._store.load(session_id)
        if session is not None and session.connected:
            session.connected, session.last_seen_us = False, _wall_us()
            self._committer.update(session)

    def stop(self) -> None:
        """Store what is pending, acknowledge it, and send everybody away (1012)."""
        self._stopping = True
        self._committer.commit()
        for shipper in list(self._shippers):
            shipper.do(shipper.ingest.closed(CloseCode.RESTARTING, "the backend restarts"))


def _wall_us() -> int:
    return time.time_ns() // 1000
