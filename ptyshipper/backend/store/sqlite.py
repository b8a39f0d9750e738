"""The embedded store: one SQLite database in WAL mode, through the standard library.

A commit is durable against power loss (``synchronous=FULL``: the log is synced before COMMIT
returns). All batches of a session within one commit make one chunk; a session with a line a message
would still get a row a line, so the newest chunks are merged whenever there are ``MERGE_CHUNKS`` of
them, in the transaction that adds the last. Every byte is rewritten at most once.

Nearly everything is done on the caller's thread: a thread of its own would starve behind a busy loop
(measured: p99 264 ms against 30 ms). A commit of ``BULK_BYTES`` or more has one: it is a few long calls
into SQLite, which let the loop receive meanwhile what the next will store.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from ptyshipper.backend.session import (
    MAX_INTEGER,
    Chunk,
    Session,
    command_text,
    merged,
    span_of,
)
from ptyshipper.backend.store import upgrade
from ptyshipper.backend.store.base import (
    BEGUN,
    CHUNK_COLUMNS,
    DEAD_AFTER_US,
    MERGE_BYTES,
    MERGE_CHUNKS,
    MERGE_SPAN_US,
    SESSION_COLUMNS,
    SMALL_CHUNK_BYTES,
    SPANS,
    STATE_COLUMNS,
    TOKEN_COLUMNS,
    UNTIL,
    WORTH_MERGING,
    Committed,
    News,
    Opening,
    Query,
    Sketch,
    Token,
    Write,
    arrivals_of,
    at_time,
    chunk_of,
    conditions,
    ids_of,
    in_order,
    levels,
    merges_of,
    session_of,
    state_of,
    time_of,
)
from ptyshipper.errors import BackendError, StoreError

FILE_NAME = "ptyshipper.db"
BULK_BYTES = 1 << 20
_BUSY_MS = 250
_GUEST_BUSY_MS = 10_000
_VACUUM_PAGES = 256

_SETTINGS = (
    # Bulk is written a system call a page: 330 MB/s a core with 8 KiB, 190 with 4 KiB. A small
    # commit takes the same time with both.
    "page_size = 8192",
    "auto_vacuum = INCREMENTAL",  # what retention deletes goes back to the disk, a few pages at a time
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 2000",  # pages: 16 MiB
    # In KiB: the largest commit fits, so that nothing spills before it is complete.
    "cache_size = -16384",
    "foreign_keys = OFF",  # nothing is ever inserted without its session
)

_SESSION_COLUMNS = ", ".join(SESSION_COLUMNS)
_CHUNK_COLUMNS = ", ".join(CHUNK_COLUMNS)
_TOKEN_COLUMNS = ", ".join(TOKEN_COLUMNS)
_LEVELS = f"VALUES {', '.join(f'({span}, ?)' for span in range(SPANS))}"
_OPEN_SESSION = f"""
    INSERT INTO sessions (id, deployment_id, app_id, type, hostname, command, tty, is_posted,
        started_at_us, replica, last_seen_us, epoch)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
    ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1, replica = excluded.replica,
        last_seen_us = excluded.last_seen_us
    WHERE deployment_id IS excluded.deployment_id AND is_posted = excluded.is_posted
    RETURNING {_SESSION_COLUMNS}
"""
_UPDATE_SESSION = f"""
    UPDATE sessions SET {", ".join(f"{column} = ?" for column in STATE_COLUMNS[:-1])},
        last_arrival = coalesce(?, last_arrival), replica = ?,
        tail_chunks = tail_chunks + ?, tail_bytes = tail_bytes + ?, stored_bytes = stored_bytes + ?,
        first_arrival = coalesce(first_arrival, ?), span = max(span, ?),
        until_us = CASE WHEN ? THEN ? ELSE max(until_us, ?) END
    WHERE number = ? AND epoch = ? AND next_offset = ? RETURNING tail_offset, tail_chunks, tail_bytes
"""
_INSERT_CHUNK = f"""
    INSERT INTO chunks (session, {_CHUNK_COLUMNS}) VALUES (?, {", ".join("?" * 12)})
"""
_READ_CHUNKS = f"""
    SELECT {_CHUNK_COLUMNS} FROM chunks WHERE session = ?1 AND first_offset >= coalesce((
        SELECT max(first_offset) FROM chunks WHERE session = ?1 AND first_offset <= ?2), 0)
    ORDER BY first_offset
"""
_CHUNK_AT = f"""
    SELECT {_CHUNK_COLUMNS.replace("records,", "x'',").replace("marks", "x''")} FROM chunks
    WHERE session = ?1 AND first_offset = coalesce(
        (SELECT max(first_offset) FROM chunks WHERE session = ?1 AND first_offset <= ?2),
        (SELECT min(first_offset) FROM chunks WHERE session = ?1))
"""
_OUTLINE = """
    SELECT first_offset, end_offset, first_time_us, last_time_us, first_entry, end_entry,
        length(records)
    FROM chunks WHERE session = ? AND first_offset >= ? ORDER BY first_offset LIMIT ?
"""
_OLDEST = """
    SELECT number, first_arrival FROM sessions WHERE first_arrival IS NOT NULL
    ORDER BY first_arrival LIMIT 1
"""
_FRONT = """
    SELECT number, first_offset, arrival, marks <> x'', length(records) FROM chunks WHERE session = ?
    ORDER BY first_offset LIMIT ?
"""
_TRIMMED = """
    UPDATE sessions SET first_offset = ?, first_arrival = ?, stored_bytes = stored_bytes - ?
    WHERE number = ?
"""
_EMPTIED = """
    UPDATE sessions SET first_offset = next_offset, first_arrival = NULL,
        stored_bytes = stored_bytes - ?, tail_offset = next_offset, tail_chunks = 0, tail_bytes = 0
    WHERE number = ?
"""
_DELETE_EMPTY = """
    DELETE FROM sessions WHERE number IN (
        SELECT number FROM sessions WHERE first_arrival IS NULL AND replica IS NULL
            AND last_seen_us < ? LIMIT ?)
"""
_BURY = """
    UPDATE sessions SET replica = NULL, last_seen_us = max(last_seen_us,
        (SELECT alive_us FROM replicas WHERE replicas.number = sessions.replica))
    WHERE replica IN (SELECT number FROM replicas WHERE alive_us < ?)
"""


class _Planned(NamedTuple):
    """A write as it was when the commit was asked for; ``state`` is without the last arrival."""

    number: int
    epoch: int
    replica: int | None
    state: tuple[Any, ...]
    begins_at: int
    extent: tuple[int, bool, int, int]
    chunk: Chunk | None


class SqliteStore:
    """A ``Store`` in DIR/ptyshipper.db, which this process has to itself.

    As a ``guest`` it leaves sessions to the process that has them, and is asked for tokens alone.

    Raises:
        BackendError: the database can't be opened, is damaged, or is a newer version's.
        StoreOutdated: to a guest; whoever has the directory alone has to open it first.
    """

    def __init__(self, data_dir: Path, *, guest: bool = False) -> None:
        path = data_dir / FILE_NAME
        busy_ms = _GUEST_BUSY_MS if guest else _BUSY_MS
        self._merges_left = 0  # in the commit that is under way
        # Who has it may use the connection that writes.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "bulk commit")
        self._heard: Callable[[News], None] | None = None
        try:
            self._db = _connect(path, busy_ms)
            self._configure(path, guest)
            # Apart from the other, on which a thread may be in the middle of a commit.
            self._reader = _connect(path, busy_ms)
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise BackendError(f"can't use the database {path}: {error}") from None

    def _configure(self, path: Path, guest: bool) -> None:
        for setting in _SETTINGS:
            self._db.execute(f"PRAGMA {setting}")
        if guest:
            upgrade.check(self._db, path)
            return
        upgrade.upgrade(self._db, path)
        # Whoever was connected when the last process died was seen until it last said so.
        self._db.execute("BEGIN IMMEDIATE")
        self._bury(1 << 62)
        self._replica = self._one(
            "INSERT INTO replicas (alive_us) VALUES (?) RETURNING number", (_wall_us(),)
        )
        self._db.execute("COMMIT")

    def _bury(self, before_us: int) -> None:
        self._db.execute(_BURY, (before_us,))
        self._db.execute("DELETE FROM replicas WHERE alive_us < ?", (before_us,))

    def _one(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        return self._db.execute(sql, parameters).fetchone()[0]

    async def commit(self, writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
        planned = [self._plan(write) for write in writes]
        weight = sum(len(each.chunk.records) for each in planned if each.chunk is not None)
        async with self._turn:
            if weight < BULK_BYTES:
                done = self._commit(planned, openings)
            else:
                done = await self._commit_in_thread(planned, openings)
        for (session, _), chunk in zip(writes, done.chunks, strict=True):
            if chunk is not None:
                session.last_arrival = chunk.arrival + ids_of(chunk) - 1
        self._tell(writes, done)
        return done

    def _tell(self, writes: Sequence[Write], done: Committed) -> None:
        last_ids = [chunk.arrival + ids_of(chunk) - 1 for chunk in done.chunks if chunk is not None]
        if self._heard is not None and last_ids:
            named = [(write.session.id, write.session.app_id) for write in writes]
            self._heard(News(named, max(last_ids), True))

    async def _commit_in_thread(
        self, planned: Sequence[_Planned], openings: Sequence[Opening]
    ) -> Committed:
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._thread, self._commit, planned, openings)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])  # it can't be stopped, and it has the connection
            raise

    def _plan(self, write: Write) -> _Planned:
        session, chunk = write
        *state, _ = state_of(session)
        return _Planned(
            session.number,
            session.epoch,
            self._replica if session.connected else None,
            tuple(state),
            session.next_offset if chunk is None else chunk.first_offset,
            _extent(session, chunk),
            chunk,
        )

    def _commit(self, planned: Sequence[_Planned], openings: Sequence[Opening]) -> Committed:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            done = self._write_all(planned, openings)
            self._db.execute("COMMIT")
        except Exception as error:
            # Whatever it was: half a transaction must not stay open for the next one to finish.
            self._roll_back()
            raise StoreError(f"the database can't be written: {error}") from error
        return done

    def _write_all(self, planned: Sequence[_Planned], openings: Sequence[Opening]) -> Committed:
        before, ids = arrivals_of([each.chunk for each in planned])
        first = self._one("SELECT max(arrival, ? - ?) + 1 FROM ledger", (_wall_us(), ids))
        done, stored_bytes = Committed([], set(), []), 0
        self._merges_left = merges_of(len(planned))
        for index, each in enumerate(planned):
            chunk = each.chunk and each.chunk._replace(arrival=first + before[index])
            if self._write(each, chunk):
                done.chunks.append(chunk)
                stored_bytes += len(chunk.records) if chunk else 0
            else:
                done.chunks.append(None)
                done.refused.add(index)
        if ids:
            self._db.execute(
                "UPDATE ledger SET arrival = ?, stored_bytes = stored_bytes + ?",
                (first + ids - 1, stored_bytes),
            )
        done.sessions.extend(self._open(opening) for opening in openings)
        return done

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself, or will when the next BEGIN reads the log

    def _open(self, opening: Opening) -> Session | None:
        about = opening.description
        row = self._db.execute(
            _OPEN_SESSION,
            (
                opening.session_id,
                about.deployment_id,
                opening.app_id,
                about.type,
                about.hostname,
                command_text(about.command),
                about.tty,
                opening.is_posted,
                about.started_at_us,
                None if opening.is_posted else self._replica,
                opening.now_us,
            ),
        ).fetchone()
        return None if row is None else session_of(row)

    def _write(self, planned: _Planned, chunk: Chunk | None) -> bool:
        """Whether it could be written: the session is still this connection's."""
        size = 0 if chunk is None else len(chunk.records)
        small = chunk is not None and size < SMALL_CHUNK_BYTES
        session = planned.number
        row = self._db.execute(
            _UPDATE_SESSION,
            (
                *planned.state,
                None if chunk is None else chunk.arrival + ids_of(chunk) - 1,
                planned.replica,
                int(small),
                size if small else 0,
                size,
                None if chunk is None else chunk.arrival,
                *planned.extent,
                session,
                planned.epoch,
                planned.begins_at,
            ),
        ).fetchone()
        if row is None:
            return False
        if chunk is None:
            return True
        self._insert(session, chunk)
        tail_offset, tail_chunks, tail_bytes = row
        if not small:
            # The run of small chunks ends before this one.
            if tail_chunks >= WORTH_MERGING:  # now or never, and a large chunk takes longer
                self._merge(session, tail_offset, chunk.first_offset)
            self._begin_tail(session, chunk.end_offset)
        elif self._merges_left and (tail_chunks >= MERGE_CHUNKS or tail_bytes >= MERGE_BYTES):
            self._merges_left -= 1
            self._merge(session, tail_offset, chunk.end_offset)
            self._begin_tail(session, chunk.end_offset)
        return True

    def _insert(self, session: int, chunk: Chunk) -> None:
        at = chunk._fields.index("open_lines")
        self._db.execute(_INSERT_CHUNK, (session, *chunk[:at], *chunk.open_lines, *chunk[at + 1 :]))

    def _begin_tail(self, session: int, offset: int) -> None:
        self._db.execute(
            "UPDATE sessions SET tail_offset = ?, tail_chunks = 0, tail_bytes = 0 WHERE number = ?",
            (offset, session),
        )

    def _merge(self, session: int, first_offset: int, end_offset: int) -> None:
        """Make one chunk of those between two offsets, in each span of time."""
        where = "session = ? AND first_offset >= ? AND first_offset < ?"
        bounds = (session, first_offset, end_offset)
        rows = self._db.execute(
            f"SELECT {_CHUNK_COLUMNS} FROM chunks WHERE {where} ORDER BY first_offset", bounds
        ).fetchall()
        if len(rows) > 1:  # retention may have been here
            self._db.execute(f"DELETE FROM chunks WHERE {where}", bounds)
            chunks = [chunk_of(row) for row in rows]
            first = chunks[0].arrival
            for _, run in groupby(chunks, lambda chunk: (chunk.arrival - first) // MERGE_SPAN_US):
                self._insert(session, merged(list(run)))

    async def load(self, session_id: bytes) -> Session | None:
        rows = self._read(f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id = ?", (session_id,))
        return session_of(rows[0]) if rows else None

    async def load_all(self, session_ids: Sequence[bytes]) -> list[Session]:
        places = ", ".join("?" * len(session_ids))
        rows = self._read(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id IN ({places})", tuple(session_ids)
        )
        return [session_of(row) for row in rows]

    async def sessions(self, query: Query) -> list[Session]:
        where, parameters = conditions(query)
        rows = self._read(
            f"SELECT {_SESSION_COLUMNS} FROM sessions {where} ORDER BY number DESC LIMIT ?",
            (*parameters, query.limit),
        )
        return [session_of(row) for row in rows]

    async def sessions_at(self, query: Query, time_us: int) -> list[Session]:
        sql, parameters = at_time(_LEVELS, _SESSION_COLUMNS, query)
        at_us = time_of(time_us)
        rows = self._read(sql, (*levels(time_us), *parameters, at_us, at_us, query.limit))
        return [session_of(row) for row in rows]

    async def sessions_after(self, query: Query, begun: tuple[int, int]) -> list[Session]:
        return self._in_order(query, BEGUN, begun, backwards=False)

    async def sessions_before(self, query: Query, until: tuple[int, int]) -> list[Session]:
        return self._in_order(query, UNTIL, until, backwards=True)

    def _in_order(
        self, query: Query, key: str, beyond: tuple[int, int], *, backwards: bool
    ) -> list[Session]:
        sql, parameters = in_order(_SESSION_COLUMNS, query, key, backwards=backwards)
        rows = self._read(sql, (*parameters, *map(time_of, beyond), query.limit))
        return [session_of(row) for row in rows]

    async def chunks(self, session: int, from_offset: int, max_bytes: int) -> list[Chunk]:
        found, read_bytes = list[Chunk](), 0
        try:
            cursor = self._reader.execute(_READ_CHUNKS, (session, from_offset))
            for row in cursor:
                chunk = chunk_of(row)
                if chunk.end_offset > from_offset:
                    found.append(chunk)
                    read_bytes += len(chunk.records)
                    if read_bytes >= max_bytes:
                        break
            cursor.close()
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be read: {error}") from None
        return found

    async def chunk_at(self, session: int, offset: int) -> Chunk | None:
        rows = self._read(_CHUNK_AT, (session, offset))
        return chunk_of(rows[0]) if rows else None

    async def outline(self, session: int, from_offset: int, limit: int) -> list[Sketch]:
        return [Sketch._make(row) for row in self._read(_OUTLINE, (session, from_offset, limit))]

    async def horizon(self) -> int:
        arrival: int = self._read("SELECT arrival FROM ledger", ())[0][0]
        return arrival

    def _read(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be read: {error}") from None

    async def note_alive(self, now_us: int) -> None:
        async with self._writing():
            self._db.execute(
                "INSERT INTO replicas (number, alive_us) VALUES (?, ?)"
                " ON CONFLICT (number) DO UPDATE SET alive_us = excluded.alive_us",
                (self._replica, now_us),
            )
            self._bury(now_us - DEAD_AFTER_US)

    async def expire(self, before_us: int, max_bytes: int | None, limit: int) -> int:
        async with self._writing():
            deleted = self._expire(before_us, max_bytes, limit)
        if deleted:
            async with self._turn:
                self._shrink()
        return deleted

    def _shrink(self) -> None:
        try:
            # Not execute(), which makes one step, and each step frees one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be written: {error}") from None

    def _expire(self, before_us: int, max_bytes: int | None, limit: int) -> int:
        empty = self._db.execute(_DELETE_EMPTY, (before_us, limit)).rowcount
        excess = 0
        if max_bytes is not None:
            excess = max(0, self._one("SELECT stored_bytes FROM ledger") - max_bytes)
        oldest = self._db.execute(_OLDEST).fetchone()
        if oldest is None or (oldest[1] >= before_us and not excess):
            return empty
        session = oldest[0]
        deleted, freed, kept_from = 0, 0, None
        for number, first_offset, arrival, is_merged, size in self._db.execute(
            _FRONT, (session, limit + 1)
        ):
            is_old = arrival + is_merged * MERGE_SPAN_US < before_us
            if deleted == limit or (not is_old and freed >= excess):
                kept_from = (first_offset, arrival)
                break
            self._db.execute("DELETE FROM chunks WHERE number = ?", (number,))
            deleted, freed = deleted + 1, freed + size
        if kept_from is None:
            self._db.execute(_EMPTIED, (freed, session))
        else:
            self._db.execute(_TRIMMED, (*kept_from, freed, session))
        self._db.execute("UPDATE ledger SET stored_bytes = stored_bytes - ?", (freed,))
        return empty + deleted

    async def add_token(self, token: Token) -> int:
        async with self._writing():
            number: int = self._one(
                f"INSERT INTO tokens ({_TOKEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " RETURNING number",
                token[1:],
            )
        return number

    async def tokens(self) -> list[Token]:
        rows = self._read(f"SELECT number, {_TOKEN_COLUMNS} FROM tokens ORDER BY number", ())
        return [Token._make(row) for row in rows]

    async def find_token(self, hash: bytes) -> Token | None:
        rows = self._read(f"SELECT number, {_TOKEN_COLUMNS} FROM tokens WHERE hash = ?", (hash,))
        return Token._make(rows[0]) if rows else None

    async def take_token(self, hash: bytes) -> Token | None:
        async with self._writing():
            row = self._db.execute(
                f"DELETE FROM tokens WHERE hash = ? RETURNING number, {_TOKEN_COLUMNS}", (hash,)
            ).fetchone()
        return None if row is None else Token._make(row)

    async def revoke_token(self, number: int, now_us: int) -> bool:
        async with self._writing():
            changed = self._db.execute(
                "UPDATE tokens SET revoked_us = ? WHERE number = ? AND revoked_us IS NULL",
                (now_us, number),
            ).rowcount
        return changed == 1

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        async with self._turn:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise StoreError(f"the database can't be written: {error}") from None

    async def listen(self, heard: Callable[[News], None], missed: Callable[[], None]) -> None:
        self._heard = heard  # no other process has this database
        try:
            missed()
            await asyncio.Event().wait()
        finally:
            self._heard = None

    async def close(self) -> None:
        async with self._turn:
            self._thread.shutdown()
            for connection in (self._reader, self._db):
                try:
                    connection.close()
                except sqlite3.Error:
                    pass  # what is committed is in the log already


def _connect(path: Path, busy_ms: int) -> sqlite3.Connection:
    return sqlite3.connect(
        path, isolation_level=None, timeout=busy_ms / 1000, check_same_thread=False
    )


def _extent(session: Session, chunk: Chunk | None) -> tuple[int, bool, int, int]:
    """The session's span, whether its end is known, and the end, exact or by the span."""
    if chunk is None:
        return 0, False, 0, 0
    span, begun_us = span_of(chunk.last_time_us), session.description.started_at_us
    exact_us = min(begun_us + chunk.last_time_us + 1, MAX_INTEGER)
    return span, session.exited, exact_us, min(begun_us + (1 << span), MAX_INTEGER)


def _wall_us() -> int:
    return time.time_ns() // 1000
