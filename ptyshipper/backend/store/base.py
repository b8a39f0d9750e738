"""What the backend asks of a store, and what the stores have in common.

Every method may raise StoreError and leaves nothing half done. A store is asked by one process's loop;
other processes may ask the same database through stores of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from ptyshipper.backend.session import (
    CUT_AFTER_US,
    MAX_INTEGER,
    QUIET_AFTER_US,
    Chunk,
    Description,
    Session,
)
from ptyshipper.wire.messages import SESSION_ID_BYTES

DEAD_AFTER_US = 30_000_000
"""A backend process that has not said for so long that it is alive is dead; its sessions are nobody's."""

MERGE_CHUNKS = 64
MERGE_BYTES = 262_144
"""The newest chunks of a session are merged when there are so many, or when they weigh so much."""
MERGE_SPAN_US = 600_000_000
"""Only what was stored within so long makes one chunk. Chunks are deleted as a whole when
they are too old: a line of today's must not go because it was merged with one of two weeks ago."""
SMALL_CHUNK_BYTES = 16_384
"""A chunk of this size is not worth rewriting: what merging saves is under 1 %."""
WORTH_MERGING = 8
"""So many small chunks before a large one are merged, fewer stay as they are."""
MERGE_SHARE, MERGE_AT_LEAST = 24, 4
"""A commit merges one session's chunks for so many writes, and may always for so many sessions. A thousand
that began together would reach ``MERGE_CHUNKS`` together and hold up one commit (250 ms); those
that are left merge with one of their next writes. It is more than they need, one in ``MERGE_CHUNKS``."""

FOUND_COLUMNS = (
    "id",
    "deployment_id",
    "type",
    "hostname",
    "command",
    "tty",
    "started_at_us",
    "app_id",
    "is_posted",
    "number",
    "epoch",
    "first_offset",
    "replica",
)
"""What is stored of a session and changes with no record."""
STATE_COLUMNS = (
    "next_offset",
    "entries",
    "stdout_open",
    "stderr_open",
    "tty_open",
    "cols",
    "rows",
    "output_bytes",
    "gaps",
    "lost_bytes",
    "ended_us",
    "exit_code",
    "exit_signal",
    "cut",
    "last_seen_us",
    "last_arrival",
)
"""What changes with every write of it."""
SESSION_COLUMNS = (*FOUND_COLUMNS, *STATE_COLUMNS, "until_us")
CHUNK_COLUMNS = (
    "first_offset",
    "end_offset",
    "first_time_us",
    "last_time_us",
    "first_entry",
    "end_entry",
    "stdout_open",
    "stderr_open",
    "tty_open",
    "records",
    "arrival",
    "marks",
)

_counts = attrgetter(
    "cols",
    "rows",
    "output_bytes",
    "gaps",
    "lost_bytes",
    "ended_us",
    "exit_code",
    "exit_signal",
    "cut",
    "last_seen_us",
    "last_arrival",
)


class Write(NamedTuple):
    """A session's new state, and the records that lead there, if it was records that did."""

    session: Session
    chunk: Chunk | None


class Opening(NamedTuple):
    """A connection asks for a session, which is made where it is new.

    Its epoch becomes the next one, it counts as connected to this process (unless ``is_posted``), and
    it was seen ``now_us`` (Unix time). It is refused where there is such a session of another
    deployment, or one that came in the other way.
    """

    session_id: bytes
    description: Description
    app_id: int | None
    is_posted: bool
    now_us: int


class Committed(NamedTuple):
    """What became of a commit: of each write its chunk with its arrival, None where it has none or was
    refused; which writes were refused, by index; of each opening its session, None where that was
    refused."""

    chunks: list[Chunk | None]
    refused: set[int]
    sessions: list[Session | None]


@dataclass(frozen=True, slots=True)
class Query:
    """Which sessions are asked for: the newest ``limit`` that fit everything that is not None.

    Args:
        before: only those that came before the session with this number.
        prefix: the hexadecimal digits that their ids begin with.
        state: ``running``, ``succeeded`` (exited with 0), ``failed`` (any other exit), ``cut`` or
            ``quiet``, as of ``now_us``.
        changed_after: only those with an entry whose id is greater.
        ids: only these, if there are any.
    """

    limit: int = 100
    before: int | None = None
    prefix: str = ""
    app_id: int | None = None
    deployment_id: int | None = None
    type: str | None = None
    hostname: str | None = None
    state: str | None = None
    now_us: int = 0
    changed_after: int | None = None
    ids: tuple[bytes, ...] = ()

    def wants(self, session: Session) -> bool:
        """Whether it fits, as to what never changes."""
        about = session.description
        return (
            self.app_id in (None, session.app_id)
            and self.deployment_id in (None, about.deployment_id)
            and self.type in (None, about.type)
            and (not self.ids or session.id in self.ids)
        )

    def fits(self, session: Session, now_us: int) -> bool:
        """Whether it is one that is asked for, as of ``now_us`` (Unix time), but for ``changed_after``."""
        state = session.state(now_us)
        if state == "exited":
            state = "succeeded" if session.exit_code == 0 else "failed"
        return (
            self.wants(session)
            and session.id.hex().startswith(self.prefix)
            and (self.before is None or session.number < self.before)
            and self.hostname in (None, session.description.hostname)
            and self.state in (None, state)
        )


class News(NamedTuple):
    """A commit: of which sessions, with the app of each, and by which process.

    Every entry with ``horizon`` as its id or a smaller one was in this commit or in one that was told of
    before it.
    """

    sessions: Sequence[tuple[bytes, int | None]]
    horizon: int
    is_own: bool


class Sketch(NamedTuple):
    """What is known of a chunk without its records; ``record_bytes`` is what they take."""

    first_offset: int
    end_offset: int
    first_time_us: int
    last_time_us: int
    first_entry: int
    end_entry: int
    record_bytes: int


class Token(NamedTuple):
    """A token as it is stored: of its secret only the SHA-256.

    ``kind``: ``ingest`` (shippers of a deployment and its app), ``view`` (readers, of one app or of all),
    ``link`` (a view that is good once), ``browser`` (the cookie that a link was exchanged for). Times are
    Unix times in microseconds.
    """

    number: int
    kind: str
    name: str
    hash: bytes
    deployment_id: int | None
    app_id: int | None
    created_us: int
    expires_us: int | None
    revoked_us: int | None


TOKEN_COLUMNS = Token._fields[1:]
"""All but the number, which the store gives."""

_STATES = {
    "running": "ended_us IS NULL AND CASE WHEN is_posted THEN last_seen_us >= {quiet} ELSE"
    " NOT cut AND (replica IS NOT NULL OR last_seen_us >= {cut}) END",
    "cut": "ended_us IS NULL AND NOT is_posted AND (cut OR (replica IS NULL AND last_seen_us < {cut}))",
    "quiet": "ended_us IS NULL AND is_posted AND last_seen_us < {quiet}",
    "succeeded": "exit_code = 0",
    "failed": "(exit_code <> 0 OR exit_signal IS NOT NULL)",
}
STATES = tuple(_STATES)


def conditions(query: Query) -> tuple[str, list[Any]]:
    """A WHERE clause with ``?`` for each parameter, and the parameters."""
    found, parameters = list[str](), list[Any]()

    def add(condition: str, *values: Any) -> None:
        found.append(condition)
        parameters.extend(values)

    if query.prefix:
        bounds = (query.prefix.ljust(2 * SESSION_ID_BYTES, fill) for fill in "0f")
        add("id BETWEEN ? AND ?", *(bytes.fromhex(bound) for bound in bounds))
    if query.before is not None:
        add("number < ?", query.before)
    for column in ("app_id", "deployment_id", "type", "hostname"):
        value = getattr(query, column)
        if value is not None:
            add(f"{column} = ?", value)
    if query.changed_after is not None:
        add("last_arrival > ?", query.changed_after)
    if query.ids:
        add(f"id IN ({', '.join('?' * len(query.ids))})", *query.ids)
    if query.state is not None:
        cut, quiet = query.now_us - CUT_AFTER_US, query.now_us - QUIET_AFTER_US
        add(_STATES[query.state].format(cut=cut, quiet=quiet))
    return (f"WHERE {' AND '.join(found)}" if found else ""), parameters


SPANS = 64
BEGUN, UNTIL = "started_at_us", "until_us"


def time_of(time_us: int) -> int:
    """As the databases' columns can hold it."""
    return max(-1, min(time_us, MAX_INTEGER))


def levels(time_us: int) -> list[int]:
    """For each span, the time after which a session has begun that has come to ``time_us`` or further."""
    return [time_of(time_us - (1 << span)) for span in range(SPANS)]


def at_time(levels_sql: str, columns: str, query: Query) -> tuple[str, list[Any]]:
    """The statement of ``sessions_at``, and its parameters behind those of ``levels_sql``, which makes rows
    of (span, time). The time that is asked for comes twice, then the limit."""
    where, parameters = conditions(query)
    return (
        f"WITH level (n, after_us) AS ({levels_sql}) SELECT {columns} FROM level CROSS JOIN sessions"
        f" {where or 'WHERE true'} AND span = n AND started_at_us > after_us AND started_at_us <= ?"
        " AND until_us > ? LIMIT ?",
        parameters,
    )


def in_order(columns: str, query: Query, key: str, *, backwards: bool) -> tuple[str, list[Any]]:
    """The statement of ``sessions_after`` or ``sessions_before``; the key and the limit come last."""
    where, parameters = conditions(query)
    compared, direction = ("<", " DESC") if backwards else (">", "")
    return (
        f"SELECT {columns} FROM sessions {where or 'WHERE true'} AND ({key}, number) {compared} (?, ?)"
        f" ORDER BY {key}{direction}, number{direction} LIMIT ?",
        parameters,
    )


def state_of(session: Session) -> tuple[Any, ...]:
    """The values of ``STATE_COLUMNS``."""
    return (
        session.next_offset,
        session.entries,
        *session.open_lines,
        *_counts(session),
    )


def session_of(row: Sequence[Any]) -> Session:
    """The session that a row of ``SESSION_COLUMNS`` is."""
    session_id, deployment_id, kind, hostname, command, tty, started_at_us = row[:7]
    app_id, is_posted, number, epoch, first_offset, replica = row[7:13]
    next_offset, entries, stdout_open, stderr_open, tty_open, *counts, until_us = row[13:]
    cols, rows, output_bytes, gaps, lost_bytes, ended_us, code, signal, cut, seen_us, arrival = (
        counts
    )
    about = Description(
        deployment_id, kind, hostname, tuple(json.loads(command)), bool(tty), started_at_us
    )
    return Session(
        bytes(session_id),
        about,
        app_id,
        bool(is_posted),
        number,
        epoch,
        first_offset,
        next_offset,
        entries,
        (stdout_open, stderr_open, tty_open),
        cols,
        rows,
        output_bytes,
        gaps,
        lost_bytes,
        ended_us,
        code,
        signal,
        bool(cut),
        replica is not None,
        seen_us,
        arrival,
        until_us,
    )


def chunk_of(row: Sequence[Any]) -> Chunk:
    """The chunk that a row of ``CHUNK_COLUMNS`` is."""
    at = Chunk._fields.index("open_lines")
    stdout, stderr, tty, *rest = row[at:]
    return Chunk._make((*row[:at], (stdout, stderr, tty), *rest))


def ids_of(chunk: Chunk) -> int:
    """How many ids it takes: one for each entry that it completes, and at least one."""
    return max(1, chunk.end_entry - chunk.first_entry)


def merges_of(writes: int) -> int:
    """Of how many sessions a commit of so many writes may merge the chunks."""
    return max(MERGE_AT_LEAST, writes // MERGE_SHARE)


def arrivals_of(chunks: Iterable[Chunk | None]) -> tuple[list[int], int]:
    """For each chunk of a commit how many ids come before its own, and how many there are in all."""
    taken, before = 0, list[int]()
    for chunk in chunks:
        before.append(taken)
        if chunk is not None:
            taken += ids_of(chunk)
    return before, taken


class Store(Protocol):
    """Sessions and their records, durable."""

    async def commit(self, writes: Sequence[Write], openings: Sequence[Opening] = ()) -> Committed:
        """Store all of it in one transaction, durable when this returns; first the writes, then the
        openings.

        A write is refused where its session's epoch has passed, or its chunk does not begin where
        the stored session ends: another connection took over. An opening is refused where there is
        such a session of another deployment, or one that came in the other way, and may be where one
        that was asked for later has come before it. A written session's ``last_arrival`` is set.
        Of each session in an epoch there is one write at most, of each session one opening.

        When this raises, all of it was stored or nothing, and the Session objects are worth nothing:
        what is stored, the next opening tells. What is not stored by then never will be.

        The sessions are read before this first waits: they may move on meanwhile.
        """

    async def load(self, session_id: bytes) -> Session | None:
        """The session as it is stored."""

    async def load_all(self, session_ids: Sequence[bytes]) -> list[Session]:
        """Those of these sessions that there are, in any order."""

    async def sessions(self, query: Query) -> list[Session]:
        """The sessions that fit, newest first, in the order in which they came in."""

    async def sessions_at(self, query: Query, time_us: int) -> list[Session]:
        """Of the sessions that fit, those that began at or before a Unix time and of which something may
        have been completed then or later; ``query.limit`` of them, in no order. By an index of an app's
        sessions, so that it costs by what it finds."""

    async def sessions_after(self, query: Query, begun: tuple[int, int]) -> list[Session]:
        """The first ``query.limit`` that fit, by (``started_at_us``, number), behind ``begun``."""

    async def sessions_before(self, query: Query, until: tuple[int, int]) -> list[Session]:
        """The last ``query.limit`` before ``until`` that fit, by (``until_us``, number), the last first."""

    async def chunks(self, session: int, from_offset: int, max_bytes: int) -> list[Chunk]:
        """The chunks of the session with that number that end behind ``from_offset``, in order.

        About ``max_bytes`` of them, and the first one whatever its size. None where nothing is
        stored there yet.
        """

    async def chunk_at(self, session: int, offset: int) -> Chunk | None:
        """The last chunk that begins at or before ``offset``, without its records and marks; the first
        one where none does; None where there is no chunk."""

    async def outline(self, session: int, from_offset: int, limit: int) -> list[Sketch]:
        """The first ``limit`` chunks of the session that begin at or behind ``from_offset``, in order."""

    async def horizon(self) -> int:
        """Every entry with this id or a smaller one can be read by now; others will have greater ones."""

    async def note_alive(self, now_us: int) -> None:
        """This process is alive ``now_us`` (Unix time): its sessions were seen until then, should it die.
        Sessions of others that have died are nobody's any more."""

    async def expire(self, before_us: int, max_bytes: int | None, limit: int) -> int:
        """Delete what was stored before ``before_us`` (Unix time), and the oldest of what is more than
        ``max_bytes``; at most ``limit`` chunks of one session, so that it takes no long time. Nothing
        goes early: a chunk that was merged goes ``MERGE_SPAN_US`` after its first part, since nothing tells
        the age of its last.

        Returns:
            How many chunks and sessions it deleted; 0 when there is nothing to do.
        """

    async def add_token(self, token: Token) -> int:
        """Keep a token, whatever its number; the number that it gets."""

    async def tokens(self) -> list[Token]:
        """All of them, in the order in which they were made."""

    async def find_token(self, hash: bytes) -> Token | None:
        """The token with this hash, whether it is good still or not."""

    async def take_token(self, hash: bytes) -> Token | None:
        """The same, and it is gone afterwards: of several who ask, one gets it."""

    async def revoke_token(self, number: int, now_us: int) -> bool:
        """Whether there was such a token that had not been revoked."""

    async def listen(self, heard: Callable[[News], None], missed: Callable[[], None]) -> None:
        """Tell of every commit, this process's own as well, in their order, until this is cancelled.

        Args:
            heard: something was committed, and can be read by now.
            missed: anything may have been: from here on it is told of.
        """

    async def close(self) -> None:
        """Nothing may be asked of the store afterwards."""
