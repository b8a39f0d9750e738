"""The store of several backends: the schema ``ptyshipper`` of a Postgres database, through asyncpg.

A commit is one call of the function ``commit`` (``schema/postgres``): one round trip, in which no lock
waits for a client. A commit whose answer is lost may have been stored or not. If it is still to come,
from a server that was frozen, it comes to nothing: the replica's next connection takes its right to
commit, and a session's next opening its epoch.

NOTIFY is a wake-up only; what was written is read from the tables.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self

from ptyshipper.backend.journal import NAME
from ptyshipper.backend.session import Chunk, Session, command_text
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
from ptyshipper.backend.store.connections import (
    Connection,
    Connections,
    connect,
    is_misread,
    one_line,
    place,
)
from ptyshipper.backend.store.migration import migrate
from ptyshipper.errors import BackendError

READERS = 4
"""So many statements beside the commits run at a time."""
PROBE_EVERY_S = 10.0
"""A connection that only listens would not notice that its server is gone."""
RELISTEN_AFTER_S = 0.5

_CHANNEL = "ptyshipper"
_PAYLOAD_BYTES = 7_999 - len(f"{2**63} ")
"""Source: PostgreSQL, NOTIFY: "must be specified as ... shorter than 8000 bytes". The function ``commit``
puts the horizon before them."""
_MERGING = (SMALL_CHUNK_BYTES, MERGE_CHUNKS, MERGE_BYTES, WORTH_MERGING, MERGE_SPAN_US)

_SESSION_COLUMNS = ", ".join(SESSION_COLUMNS)
_CHUNK_COLUMNS = ", ".join(CHUNK_COLUMNS)
_TOKEN_COLUMNS = ", ".join(TOKEN_COLUMNS)
_LEVELS = "SELECT * FROM unnest(?::integer[], ?::bigint[])"
_COMMIT = "SELECT * FROM commit($1, $2, $3, $4, $5, $6, $7)"
_REGISTER = """
    INSERT INTO replicas (alive_us, writer) VALUES ($1, pg_backend_pid()) RETURNING number, writer
"""
_REGISTER_AGAIN = """
    UPDATE replicas SET writer = pg_backend_pid() WHERE number = $1 RETURNING number, writer
"""
_CHUNK_AT = f"""
    SELECT {_CHUNK_COLUMNS.replace("records", "''::bytea").replace("marks", "''::bytea")} FROM chunks
    WHERE session = $1 AND first_offset = coalesce(
        (SELECT max(first_offset) FROM chunks WHERE session = $1 AND first_offset <= $2),
        (SELECT min(first_offset) FROM chunks WHERE session = $1))
"""
_OUTLINE = """
    SELECT first_offset, end_offset, first_time_us, last_time_us, first_entry, end_entry,
        octet_length(records)
    FROM chunks WHERE session = $1 AND first_offset >= $2 ORDER BY first_offset LIMIT $3
"""
_ADD_TOKEN = f"""
    INSERT INTO tokens ({_TOKEN_COLUMNS})
    VALUES ({", ".join(f"${number + 1}" for number in range(len(TOKEN_COLUMNS)))}) RETURNING number
"""
_REVOKE_TOKEN = """
    UPDATE tokens SET revoked_us = $1 WHERE number = $2 AND revoked_us IS NULL RETURNING number
"""

_in_order = itemgetter(*SESSION_COLUMNS)

log = logging.getLogger(NAME)


class PostgresStore:
    """A ``Store`` that other processes share. ``open`` makes one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._replica: int | None = None
        # The server's process that commits for us: what it notifies of, we know.
        self._writer_pid = 0
        # The one connection that commits. A store on top of this one may do more in its transactions.
        self.writer = Connections(url, 1, self._register)
        self.others = Connections(url, READERS)

    @classmethod
    async def open(cls, url: str) -> Self:
        """The store in the database with that URL, which asyncpg's documentation describes.

        Raises:
            BackendError: it can't be used, or is a newer version's. The line has no password in it.
        """
        store = cls(url)
        try:
            connection = await connect(url)
            try:
                await migrate(connection)
            finally:
                await connection.close()
        except BackendError:
            raise
        except Exception as error:
            where = "Postgres" if is_misread(error) else place(url)
            raise BackendError(f"can't use {where}: {one_line(error)}") from None
        return store

    async def _register(self, connection: Connection) -> None:
        """From here on only this connection commits for this process."""
        found = self._replica and await connection.fetchrow(_REGISTER_AGAIN, self._replica)
        if not found:
            found = await connection.fetchrow(_REGISTER, _wall_us())
        self._replica, self._writer_pid = found

    async def commit(self, writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
        group = Group.of(writes, openings)
        async with self.writer.lend("written") as connection:
            return await self.commit_on(connection, group)

    async def commit_on(self, connection: Connection, group: Group) -> Committed:
        """Commit on the writer's connection, or do it as a part of the transaction that is open there."""
        first_id, written, sessions = await connection.fetchrow(
            _COMMIT,
            self._replica,
            group.rows,
            group.records,
            group.ids,
            group.openings,
            group.wakes,
            (*_MERGING, merges_of(len(group.writes))),
        )
        writes, before = group.writes, group.before
        refused = set(range(len(writes))).difference(written or ())
        chunks = list[Chunk | None]()
        for index, (session, chunk) in enumerate(writes):
            if chunk is None or index in refused:
                chunks.append(None)
            else:
                chunks.append(chunk._replace(arrival=first_id + before[index]))
                session.last_arrival = first_id + before[index] + ids_of(chunk) - 1
        found = [None if row is None else session_of(_in_order(row)) for row in sessions or ()]
        return Committed(chunks, refused, found)

    async def load(self, session_id: bytes) -> Session | None:
        rows = await self._read(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id = $1", session_id
        )
        return session_of(rows[0]) if rows else None

    async def load_all(self, session_ids: Sequence[bytes]) -> list[Session]:
        rows = await self._read(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE id = ANY ($1)", session_ids
        )
        return [session_of(row) for row in rows]

    async def sessions(self, query: Query) -> list[Session]:
        where, parameters = conditions(query)
        rows = await self._read(
            _numbered(f"SELECT {_SESSION_COLUMNS} FROM sessions {where} ORDER BY number DESC LIMIT ?"),
            *parameters,
            query.limit,
        )  # fmt: skip
        return [session_of(row) for row in rows]

    async def sessions_at(self, query: Query, time_us: int) -> list[Session]:
        sql, parameters = at_time(_LEVELS, _SESSION_COLUMNS, query)
        at_us = time_of(time_us)
        rows = await self._read(
            _numbered(sql),
            list(range(SPANS)),
            levels(time_us),
            *parameters,
            at_us,
            at_us,
            query.limit,
        )
        return [session_of(row) for row in rows]

    async def sessions_after(self, query: Query, begun: tuple[int, int]) -> list[Session]:
        return await self._in_order(query, BEGUN, begun, backwards=False)

    async def sessions_before(self, query: Query, until: tuple[int, int]) -> list[Session]:
        return await self._in_order(query, UNTIL, until, backwards=True)

    async def _in_order(
        self, query: Query, key: str, beyond: tuple[int, int], *, backwards: bool
    ) -> list[Session]:
        sql, parameters = in_order(_SESSION_COLUMNS, query, key, backwards=backwards)
        rows = await self._read(_numbered(sql), *parameters, *map(time_of, beyond), query.limit)
        return [session_of(row) for row in rows]

    async def chunks(self, session: int, from_offset: int, max_bytes: int) -> list[Chunk]:
        rows = await self._read(
            f"SELECT {_CHUNK_COLUMNS} FROM read($1, $2, $3)", session, from_offset, max_bytes
        )
        return [chunk_of(row) for row in rows]

    async def chunk_at(self, session: int, offset: int) -> Chunk | None:
        rows = await self._read(_CHUNK_AT, session, offset)
        return chunk_of(rows[0]) if rows else None

    async def outline(self, session: int, from_offset: int, limit: int) -> list[Sketch]:
        rows = await self._read(_OUTLINE, session, from_offset, limit)
        return [Sketch._make(row) for row in rows]

    async def horizon(self) -> int:
        arrival: int = (await self._read("SELECT arrival FROM ledger"))[0][0]
        return arrival

    async def _read(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.others.lend("read") as connection:
            return [tuple(row) for row in await connection.fetch(sql, *parameters)]

    async def note_alive(self, now_us: int) -> None:
        async with self.writer.lend("written") as connection:
            await connection.execute(
                "SELECT note_alive($1, $2, $3)", self._replica, now_us, DEAD_AFTER_US
            )

    async def expire(self, before_us: int, max_bytes: int | None, limit: int) -> int:
        deleted: int = await self._write(
            "SELECT expire($1, $2, $3, $4)", before_us, max_bytes, limit, MERGE_SPAN_US
        )
        return deleted

    async def _write(self, sql: str, *parameters: Any) -> Any:
        """The first value of the first row that a statement beside the commits returns."""
        async with self.others.lend("written") as connection:
            return await connection.fetchval(sql, *parameters)

    async def add_token(self, token: Token) -> int:
        number: int = await self._write(_ADD_TOKEN, *token[1:])
        return number

    async def tokens(self) -> list[Token]:
        rows = await self._read(f"SELECT number, {_TOKEN_COLUMNS} FROM tokens ORDER BY number")
        return [Token._make(row) for row in rows]

    async def find_token(self, hash: bytes) -> Token | None:
        rows = await self._read(
            f"SELECT number, {_TOKEN_COLUMNS} FROM tokens WHERE hash = $1", hash
        )
        return Token._make(rows[0]) if rows else None

    async def take_token(self, hash: bytes) -> Token | None:
        rows = await self._read(
            f"DELETE FROM tokens WHERE hash = $1 RETURNING number, {_TOKEN_COLUMNS}", hash
        )
        return Token._make(rows[0]) if rows else None

    async def revoke_token(self, number: int, now_us: int) -> bool:
        return await self._write(_REVOKE_TOKEN, now_us, number) is not None

    async def listen(self, heard: Callable[[News], None], missed: Callable[[], None]) -> None:
        told = False
        while True:
            try:
                await self._listen(heard, missed)
                told = False
            except Exception as error:
                if not told:
                    log.error("can't hear of other backends' commits: %s", one_line(error))
                told = True
            await asyncio.sleep(RELISTEN_AFTER_S)

    async def _listen(self, heard: Callable[[News], None], missed: Callable[[], None]) -> None:
        """Return or raise when the connection is gone."""
        named = list[tuple[bytes, int | None]]()

        def notified(_: object, pid: int, channel: str, payload: str) -> None:
            horizon, *names = payload.split()
            named.extend(_named(names))
            if int(horizon):  # the last of a commit
                heard(News(tuple(named), int(horizon), pid == self._writer_pid))
                named.clear()

        connection = await connect(self._url)
        gone = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: gone.set())
            await connection.add_listener(_CHANNEL, notified)
            missed()
            while not gone.is_set():
                try:
                    await asyncio.wait_for(gone.wait(), PROBE_EVERY_S)
                except TimeoutError:
                    await connection.execute("SELECT")
        finally:
            connection.terminate()

    async def close(self) -> None:
        self.writer.close()
        self.others.close()


class Group(NamedTuple):
    """What the function ``commit`` is called with. It is made before anything is waited for, since the
    sessions may move on meanwhile."""

    writes: Sequence[Write]
    before: list[int]
    ids: int
    rows: list[tuple[Any, ...]]
    records: bytes
    openings: list[tuple[Any, ...]]
    wakes: list[str]

    @classmethod
    def of(cls, writes: Sequence[Write], openings: Sequence[Opening]) -> Group:
        before, ids = arrivals_of(write.chunk for write in writes)
        rows, parts, records_at = list[tuple[Any, ...]](), list[bytes](), 1
        for index, write in enumerate(writes):
            rows.append(_row(index, write, before[index], records_at))
            if write.chunk is not None:
                parts.append(write.chunk.records)
                records_at += len(write.chunk.records)
        records = parts[0] if len(parts) == 1 else b"".join(parts)
        opened = [_opening(opening) for opening in openings]
        return cls(writes, before, ids, rows, records, opened, list(_payloads(writes)))


def _row(place: int, write: Write, ids_before: int, records_at: int) -> tuple[Any, ...]:
    """The composite ``write`` of the schema."""
    session, chunk = write
    *state, _ = state_of(session)  # without the last arrival, which the ledger gives
    if chunk is None:
        at_offset = session.next_offset
        of_chunk: tuple[int | None, ...] = (None,) * 10
    else:
        at_offset = chunk.first_offset
        of_chunk = (
            ids_before,
            ids_of(chunk),
            records_at,
            len(chunk.records),
            chunk.first_time_us,
            chunk.last_time_us,
            chunk.first_entry,
            *chunk.open_lines,
        )
    return (
        place,
        session.number,
        session.epoch,
        at_offset,
        session.connected,
        *state,
        *of_chunk,
    )


def _opening(opening: Opening) -> tuple[Any, ...]:
    """The composite ``opening`` of the schema."""
    about = opening.description
    return (
        opening.session_id,
        about.deployment_id,
        opening.app_id,
        about.type,
        about.hostname,
        command_text(about.command),
        about.tty,
        opening.is_posted,
        about.started_at_us,
        opening.now_us,
    )


def _payloads(writes: Sequence[Write]) -> Iterator[str]:
    """What all replicas are told of a commit: <session id>[:<app id>] of each write."""
    names, size = list[str](), 0
    for session, _ in writes:
        name = (
            session.id.hex() if session.app_id is None else f"{session.id.hex()}:{session.app_id}"
        )
        if size + len(name) > _PAYLOAD_BYTES:
            yield " ".join(names)
            names, size = [], 0
        names.append(name)
        size += len(name) + 1
    if names:
        yield " ".join(names)


def _named(names: list[str]) -> Iterator[tuple[bytes, int | None]]:
    for name in names:
        session_id, _, app_id = name.partition(":")
        yield bytes.fromhex(session_id), int(app_id) if app_id else None


def _numbered(sql: str) -> str:
    """The statement with $1, $2, … in place of each ``?``."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def _wall_us() -> int:
    return time.time_ns() // 1000
