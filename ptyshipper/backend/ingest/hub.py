"""Which connection feeds which session, and what becomes of both."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple, Protocol

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.allowance import RESTARTING, Allowance, Limits, Refusal
from ptyshipper.backend.ingest.committer import Committer, OpeningRefused
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import DEAD_AFTER_US, Opening, Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.closing import CloseCode

ALIVE_EVERY_S = 10.0
"""Well within the time after which a session without a connection counts as cut off."""

SWEEP_AT_A_TIME = 100

STOP_WITHIN_S = 5.0
"""So long, at the end, the store is waited for: what it has not taken by then is sent again elsewhere."""

log = logging.getLogger("ptyshipper.backend")


class Shipper(Protocol):
    """A shipper's connection, as the hub sees it; ``session`` is None until it is opened."""

    ingest: core.Ingest
    session: Session | None

    def do(self, commands: list[core.Command]) -> None:
        """Carry out what its core decided."""


class _Admitted(NamedTuple):
    """A connection whose session was let in, and the answer that it waits for, or has had."""

    deployment_id: int | None
    session_id: bytes
    answer: asyncio.Future[Session]


class Hub:
    """All connections of shippers. It is the ``Outcome`` of the committer."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        allowance: Allowance | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._committer = committer
        self._allowance = allowance or Allowance(Limits())
        self.counts = counts or Counts()
        self._admitted: dict[Shipper, _Admitted] = {}
        self._shippers: set[Shipper] = set()
        # Which connection feeds which session.
        self._live: dict[bytes, Shipper] = {}
        # Stored as connected although nobody is, by id and epoch: a write that should have said so
        # failed.
        self._misstated: dict[bytes, int] = {}
        self._alive_noted_s = 0.0
        self._stopping = False
        committer.outcome = self

    @property
    def connections(self) -> int:
        """Of shippers, whatever they have said."""
        return len(self._shippers)

    @property
    def sessions(self) -> int:
        """That are connected."""
        return len(self._live)

    def turned_away(self, deployment_id: int | None) -> Refusal | None:
        """Why a shipper is not even to be upgraded. ``deployment_id`` None: not known yet."""
        if self._stopping:
            return RESTARTING
        waiting_bytes = self._committer.waiting_bytes
        return self._allowance.connect(deployment_id, waiting_bytes, _steady_s())

    def judge(self, deployment_id: int | None, batch_bytes: int, own_bytes: int) -> Refusal | None:
        """Why a batch is not taken. ``own_bytes``: what its session has waiting, with this batch."""
        if self._stopping:
            return RESTARTING
        waiting_bytes = self._committer.waiting_bytes
        return self._allowance.bring(
            deployment_id, batch_bytes, own_bytes, waiting_bytes, _steady_s()
        )

    def connected(self, shipper: Shipper) -> None:
        self._shippers.add(shipper)
        if self._stopping:
            self._refuse(shipper, RESTARTING)

    def _refuse(self, shipper: Shipper, refusal: Refusal) -> None:
        self.counts.refusals["shipper", refusal.cause] += 1
        shipper.do(shipper.ingest.closed(refusal.code, refusal.reason))

    def open(self, shipper: Shipper, command: core.Open, app_id: int | None = None) -> None:
        """Make ``shipper`` the one that feeds this session; another loses it."""
        deployment_id, waiting_bytes = (
            command.description.deployment_id,
            self._committer.waiting_bytes,
        )
        takes_over = command.session_id in self._live
        refusal = (
            RESTARTING
            if self._stopping
            else self._allowance.open(deployment_id, takes_over, waiting_bytes, _steady_s())
        )
        if refusal is not None:
            self._refuse(shipper, refusal)
            return
        opening = Opening(command.session_id, command.description, app_id, False, _wall_us())
        answer = self._committer.open(opening)
        self._admitted[shipper] = _Admitted(deployment_id, command.session_id, answer)
        answer.add_done_callback(lambda answer: self._opened(shipper, answer))

    def _opened(self, shipper: Shipper, answer: asyncio.Future[Session]) -> None:
        if answer.cancelled():
            self._replace(shipper)
            return
        error = answer.exception()
        if isinstance(error, OpeningRefused):
            shipper.do(shipper.ingest.closed(CloseCode.FORBIDDEN, str(error)))
            return
        if error is not None:
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
        if self._feeder(session) is not shipper or self._stopping:
            return  # who gets no ACK of it sends it again, there or elsewhere
        deployment_id = self._admitted[shipper].deployment_id
        own_bytes = shipper.ingest.uncommitted_bytes
        refusal = self.judge(deployment_id, len(command.records), own_bytes)
        if refusal is not None:
            self._refuse(shipper, refusal)
        else:
            session.last_seen_us = _wall_us()
            self._committer.append(session, command.offset, command.records, command.digest)

    def mark_cut(self, shipper: Shipper, session: Session) -> None:
        """Nothing will follow in this session, although its program's exit was never told."""
        if self._feeder(session) is shipper:
            session.cut = True
            self._committer.update(session)

    def disconnected(self, shipper: Shipper) -> None:
        self._shippers.discard(shipper)
        admitted = self._admitted.pop(shipper, None)
        if admitted is not None:
            self._allowance.close(admitted.deployment_id)
            self._committer.withdraw(admitted.session_id, admitted.answer)
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
            self.counts.store_errors["alive"] += 1
            log.error("%s", error)
        self._allowance.forget_idle(_steady_s())

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
        """Take nothing more, store what is pending, acknowledge it, and send everybody away (1012)."""
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._committer.flush()
        except TimeoutError:
            waiting_bytes = self._committer.waiting_bytes
            log.error("the store took too long: %d bytes were not acknowledged", waiting_bytes)
        for shipper in list(self._shippers):
            shipper.do(shipper.ingest.closed(RESTARTING.code, RESTARTING.about))


def _steady_s() -> float:
    return time.monotonic()


def _wall_us() -> int:
    return time.time_ns() // 1000
