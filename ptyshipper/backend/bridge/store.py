"""The Postgres store that also keeps AnvilOps' table ``"Log"``.

The rows of a session are written in the transaction that stores its records, and how many of its entries
they were (``logged``) in the same one, so that each line is a row once, whoever dies when. What can't
become rows at once, because it is more than AnvilOps' live view takes or because it was stored by a
process that died, is read back from the store by ``catch_up`` and becomes rows in transactions of its
own. An acknowledgement never waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from io import BytesIO
from typing import NamedTuple

import asyncpg

from ptyshipper.backend.bridge.apps import App, app_of
from ptyshipper.backend.bridge.rows import (
    BURST,
    COLUMNS,
    PAUSE_S,
    TIMESTAMPS,
    Budget,
    Follower,
    Portion,
)
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.reading import Reader
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.faults import where
from ptyshipper.backend.journal import NAME
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Committed, Opening, Write
from ptyshipper.backend.store.connections import Connection
from ptyshipper.backend.store.postgres import Group, PostgresStore
from ptyshipper.errors import BackendError, StoreError

LOOK_EVERY_S = 30.0
"""So often sessions are looked for that a dead process has left behind."""
AGAIN_AFTER_S = 1.0
LEFT_AT_A_TIME = 1_000
SESSIONS_AT_A_TIME = 32
GATHER_S = 0.008

_TIMESTAMPS = """
    SELECT data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'Log' AND column_name = 'timestamp'
"""
# To be followed is what belongs to a deployment of AnvilOps'; nothing else could be a row.
_FOLLOW = """
    WITH asked AS (
        SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS asked (session, deployment)
    ), known AS (
        SELECT session, "appId" AS app FROM asked JOIN public."Deployment" ON id = deployment
    ), made AS (
        INSERT INTO logged (session, entries) SELECT session, 0 FROM known ON CONFLICT DO NOTHING
    )
    SELECT session, app, coalesce(entries, 0) FROM known LEFT JOIN logged USING (session)
"""
_MOVE_ON = """
    UPDATE logged SET entries = moved.now
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS moved (session, was, now)
    WHERE logged.session = moved.session AND logged.entries = moved.was RETURNING logged.session
"""
_LEFT = """
    SELECT sessions.id FROM sessions JOIN logged ON logged.session = number
    JOIN public."Deployment" AS deployment ON deployment.id = deployment_id
    WHERE logged.entries < sessions.entries AND replica IS NULL LIMIT $1
"""
_NOTIFY = "SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel"

log = logging.getLogger(NAME)


class _Batch(NamedTuple):
    """The rows of one write."""

    place: int
    follower: Follower
    portion: Portion


class _Ready(NamedTuple):
    """Rows that were read back, and whether they were written: False where another process had done it."""

    batch: _Batch
    is_written: asyncio.Future[bool]


class AnvilopsStore(PostgresStore):
    """A ``Store`` in AnvilOps' own database. ``open`` makes one."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._timestamps = ""
        self._budget = Budget()
        self._reader = Reader(self, Turns())
        # The sessions that are followed, and those of them whose rows are not all written.
        self._followers: dict[int, Follower] = {}
        self._behind: dict[int, bytes] = {}
        self._is_behind = asyncio.Event()
        self._ready: list[_Ready] = []
        self._flushing: asyncio.Task[None] | None = None
        self._in_hand: dict[int, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """Look at AnvilOps' tables.

        Raises:
            BackendError: they are not there, or not as they should be.
        """
        found = await self._read(_TIMESTAMPS)
        if not found:
            raise BackendError(
                '--anvilops: the database has no table "Log"; give the URL of AnvilOps\' own database'
            )
        self._timestamps = found[0][0]
        if self._timestamps not in TIMESTAMPS:
            raise BackendError(f'--anvilops: "Log"."timestamp" is of type {self._timestamps}')

    async def app_of(self, secret: bytes) -> App | None:
        """The app of AnvilOps' that has this secret."""
        async with self.others.lend("read") as connection:
            return await app_of(connection, secret)

    async def commit(self, writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
        group, (batches, left) = Group.of(writes, openings), self._batches(writes)
        try:
            if batches or openings:
                done = await self._commit(group, batches)
            else:
                done = await super().commit(writes, openings)
        except StoreError as error:
            is_of_rows = isinstance(error.__cause__, asyncpg.IntegrityConstraintViolationError)
            if not batches or not is_of_rows:
                for batch in batches:
                    self._lag(batch.follower)
                raise
            # A deployment that AnvilOps has deleted meanwhile: the rows are left to be read back.
            done = await self._commit(group, [])
            left += [batch.follower.session for batch in batches]
        # Not before: who reads back would find no more than there was, and be content.
        for session in left:
            self._put_behind(session)
        return done

    async def _commit(self, group: Group, batches: list[_Batch]) -> Committed:
        async with self.writer.lend("written") as connection, connection.transaction():
            done = await self.commit_on(connection, group)
            kept = [batch for batch in batches if batch.place not in done.refused]
            moved = await self._write_rows(connection, kept)
            found = await self._find(connection, [each for each in done.sessions if each])
        for batch in batches:
            if batch.place in done.refused:
                self._forget(batch.follower.session.number)
            elif batch.follower.session.number in moved:
                batch.follower.logged = batch.portion.now
                if not batch.portion.is_all:
                    self._lag(batch.follower)
            else:
                self._lag(batch.follower)
        for follower in found:
            self._follow(follower)
        return done

    def _batches(self, writes: Sequence[Write]) -> tuple[list[_Batch], list[Session]]:
        """What of these writes becomes rows in their own transaction, and the sessions of which the rest
        is to be read back afterwards."""
        found, left, now_s = list[_Batch](), list[Session](), _now_s()
        for index, (session, chunk) in enumerate(writes):
            follower = self._followers.get(session.number)
            if follower is None:
                # A posted one is opened once, and then not heard of for days.
                if chunk is not None and session.is_posted:
                    left.append(session)
                continue
            if session.epoch < follower.session.epoch:
                continue  # a newer connection has the session, so this will be refused
            follower.session = session
            if chunk is None:
                continue
            if session.number in self._in_hand or not follower.follows(chunk):
                follower.derivation = None
                left.append(session)
                continue
            portion = follower.read(chunk, self._budget.left(follower.deployment_id, now_s))
            self._budget.spend(follower.deployment_id, len(portion.rows), now_s)
            found.append(_Batch(index, follower, portion))
        return found, left

    async def _write_rows(self, connection: Connection, batches: list[_Batch]) -> set[int]:
        """Insert and notify; the numbers of the sessions that are where they were thought to be."""
        if not batches:
            return set()
        moving = [(b.follower.session.number, b.portion.was, b.portion.now) for b in batches]
        moved = {
            row[0]
            for row in await connection.fetch(_MOVE_ON, *map(list, zip(*moving, strict=True)))
        }
        kept = [batch for batch in batches if batch.follower.session.number in moved]
        rows = "".join(row for batch in kept for row in batch.portion.rows)
        if rows:
            await connection.copy_to_table(
                "Log", schema_name="public", columns=COLUMNS, source=BytesIO(rows.encode())
            )
            await connection.execute(_NOTIFY, sorted(_channels(kept)))
        return moved

    async def _find(self, connection: Connection, sessions: Sequence[Session]) -> list[Follower]:
        asked = {s.number: s for s in sessions if s.description.deployment_id is not None}
        if not asked:
            return []
        deployments = [session.description.deployment_id for session in asked.values()]
        rows = await connection.fetch(_FOLLOW, list(asked), deployments)
        return [
            Follower(asked[number], app_id, logged, self._timestamps)
            for number, app_id, logged in rows
        ]

    def _follow(self, follower: Follower) -> None:
        self._followers[follower.session.number] = follower
        if follower.logged < follower.session.entries:
            self._lag(follower)

    def _lag(self, follower: Follower) -> None:
        """Its rows are behind what is stored, or nobody knows whether they are."""
        follower.derivation = None
        self._put_behind(follower.session)

    def _put_behind(self, session: Session) -> None:
        self._behind[session.number] = session.id
        self._is_behind.set()

    def _forget(self, number: int) -> None:
        self._followers.pop(number, None)
        self._behind.pop(number, None)

    async def catch_up(self) -> None:
        """Write the rows that are behind, until this is cancelled."""
        due_s = _now_s()
        try:
            while True:
                if _now_s() >= due_s:
                    due_s = _now_s() + LOOK_EVERY_S
                    await self._kept_up(self._look())
                self._is_behind.clear()
                for number in [each for each in self._behind if each not in self._in_hand]:
                    if len(self._in_hand) < SESSIONS_AT_A_TIME:
                        self._take_in_hand(number, self._behind.pop(number))
                try:
                    async with asyncio.timeout(max(0.0, due_s - _now_s())):
                        await self._is_behind.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._in_hand.values():
                task.cancel()

    def _take_in_hand(self, number: int, session_id: bytes) -> None:
        def done(_: object) -> None:
            del self._in_hand[number]
            self._is_behind.set()

        async def catch_up() -> None:
            try:
                await self._catch_up(number, session_id)
            except Exception:
                self._behind[number] = session_id
                raise

        task = asyncio.create_task(self._kept_up(catch_up()))
        self._in_hand[number] = task
        task.add_done_callback(done)

    @staticmethod
    async def _kept_up(work: Coroutine[None, None, None]) -> None:
        """What fails is tried again, a moment later."""
        try:
            await work
        except StoreError as error:
            log.error("%s", error)
            await asyncio.sleep(AGAIN_AFTER_S)
        except Exception as error:
            # The last resort: without it, what is behind would stay so.
            log.error("AnvilOps' rows could not be written: %s", where(error))
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _look(self) -> None:
        """Those that a dead process has left behind; and let go of those that have ended."""
        self._budget.forget(_now_s())
        for (session_id,) in await self._read(_LEFT, LEFT_AT_A_TIME):
            session = await self.load(session_id)
            if session is not None and session.number not in self._followers:
                self._behind[session.number] = session.id
        ended = [
            number
            for number, follower in self._followers.items()
            if follower.derivation is not None and not follower.session.connected
        ]
        for number in ended:
            self._forget(number)

    async def _catch_up(self, number: int, session_id: bytes) -> None:
        session = await self.load(session_id)
        follower = self._followers.get(number)
        if session is not None and follower is None:
            async with self.others.lend("read") as connection:
                for follower in await self._find(connection, [session]):
                    self._followers[number] = follower
        if session is None or follower is None:
            self._forget(number)
            return
        try:
            await self._read_back(follower, session)
        except StoreError as error:
            if not isinstance(error.__cause__, asyncpg.IntegrityConstraintViolationError):
                raise
            log.error("%s; session %s is left out of AnvilOps' table", error, session_id.hex())
            self._forget(number)

    async def _read_back(self, follower: Follower, session: Session) -> None:
        async with self.others.lend("read") as connection:
            known = await self._find(connection, [session])
        if not known:
            self._forget(session.number)
            return
        follower.logged, follower.session = known[0].logged, session
        scan = await self._reader.scan(session, follower.logged)
        waiting, slices, is_at_end = list[Entry](), scan.slices(), False
        ready: _Ready | None = None
        while waiting or ready is not None or not is_at_end:
            # The next are read while the ones before are written.
            while len(waiting) < BURST and not is_at_end:
                found = await anext(slices, None)
                waiting += found or ()
                is_at_end = found is None
            if ready is not None and not await ready.is_written:
                self._lag(follower)  # another process has done it
                return
            ready = await self._make_ready(follower, waiting) if waiting else None
            waiting = [each for each in waiting if (each.number or 0) >= follower.logged]
        if follower.logged < session.entries:
            await self._pass_over(follower, session)
        follower.resume(scan.derivation)

    async def _pass_over(self, follower: Follower, session: Session) -> None:
        """Retention has deleted the rest of what there was: nothing is to be looked for any more."""
        moving = [session.number], [follower.logged], [session.entries]
        async with self.others.lend("written") as connection:
            await connection.execute(_MOVE_ON, *moving)
        follower.logged = session.entries

    async def _make_ready(self, follower: Follower, waiting: list[Entry]) -> _Ready:
        """Have the first of what waits written, as soon as some may come."""
        while (most := self._budget.left(follower.deployment_id, _now_s())) <= 0:
            await asyncio.sleep(PAUSE_S / 4)
        portion = follower.portion(iter(waiting), most)
        self._budget.spend(follower.deployment_id, len(portion.rows), _now_s())
        follower.logged = portion.now
        ready = _Ready(_Batch(0, follower, portion), asyncio.get_running_loop().create_future())
        self._ready.append(ready)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="bridge rows")
        return ready

    async def _flush(self) -> None:
        """Write what is ready of all sessions in one transaction, and again what became ready meanwhile."""
        try:
            while self._ready:
                await self._gather()
                ready, self._ready = self._ready, []
                try:
                    await self._write_ready(ready)
                except StoreError as error:
                    is_one_s = isinstance(
                        error.__cause__, asyncpg.IntegrityConstraintViolationError
                    )
                    for each in ready:
                        # One of them is of a deployment that is gone: which, shows by itself.
                        await self._write_alone(each, None if is_one_s else error)
        finally:
            self._flushing = None

    async def _gather(self) -> None:
        """Wait a moment for the other sessions that are read back: a transaction takes as long for a few
        rows as for thousands, and who just misses one would go on missing every other."""
        due_s = _now_s() + GATHER_S
        while len(self._ready) < len(self._in_hand) and _now_s() < due_s:
            await asyncio.sleep(GATHER_S / 8)

    async def _write_alone(self, ready: _Ready, error: StoreError | None) -> None:
        try:
            if error is not None:
                raise error
            await self._write_ready([ready])
        except StoreError as failure:
            if not ready.is_written.done():
                ready.is_written.set_exception(failure)

    async def _write_ready(self, ready: list[_Ready]) -> None:
        async with self.writer.lend("written") as connection, connection.transaction():
            moved = await self._write_rows(connection, [each.batch for each in ready])
        for each in ready:
            if not each.is_written.done():
                each.is_written.set_result(each.batch.follower.session.number in moved)


def _channels(batches: Iterable[_Batch]) -> set[str]:
    """Whom AnvilOps' server tells of new rows."""
    return {
        channel
        for batch in batches
        if batch.portion.rows
        for channel in (
            f"deployment_{batch.follower.session.description.deployment_id}_logs",
            f"app_{batch.follower.app_id}_logs",
        )
    }


def _now_s() -> float:
    return asyncio.get_running_loop().time()
