"""The embedded store: one SQLite database in WAL mode, through the standard library.

A commit is durable against power loss (``synchronous=FULL``: the log is synced before COMMIT
returns). All batches of a session within one commit make one chunk; a session with a line a message
would still get a row a line, so the newest chunks are merged whenever there are ``MERGE_CHUNKS`` of
them, in the transaction that adds the last. Every byte is rewritten at most once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ptyshipper.backend.session import (
    Chunk,
    Description,
    Session,
    command_text,
    records_from,
)
from ptyshipper.backend.store.base import Write
from ptyshipper.errors import BackendError, StoreError
from ptyshipper.wire.messages import SESSION_ID_BYTES

FILE_NAME = "ptyshipper.db"
SCHEMA_VERSION = 1
MERGE_CHUNKS = 64
MERGE_BYTES = 262_144
"""The newest chunks are merged when there are so many, or when they weigh so much."""
SMALL_CHUNK_BYTES = 16_384
"""A chunk of this size is not worth rewriting: what merging saves is under 1 %."""
_WORTH_MERGING = 8
_BUSY_MS = 250

_SETTINGS = (
    # Bulk is written a system call a page: 330 MB/s a core with 8 KiB, 190 with 4 KiB. A small
    # commit takes the same time with both.
    "page_size = 8192",
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 2000",  # pages: 16 MiB
    # In KiB: the largest commit fits, so that nothing spills before it is complete.
    "cache_size = -16384",
    "foreign_keys = OFF",  # nothing is ever inserted without its session
)

_COLUMNS = (
    "id, deployment_id, type, hostname, command, tty, started_at_us, number, cols, rows, next_offset,"
    " output_bytes, stdout_lines, stderr_lines, tty_lines, gaps, lost_bytes, ended_us, exit_code,"
    " exit_signal, cut, connected, last_seen_us"
)
_INSERT_SESSION = f"INSERT INTO sessions ({_COLUMNS}) VALUES ({', '.join('?' * 23)})"
_UPDATE_SESSION = """
    UPDATE sessions SET cols = ?, rows = ?, next_offset = ?, output_bytes = ?, stdout_lines = ?,
        stderr_lines = ?, tty_lines = ?, gaps = ?, lost_bytes = ?, ended_us = ?, exit_code = ?,
        exit_signal = ?, cut = ?, connected = ?, last_seen_us = ?,
        tail_chunks = tail_chunks + ?, tail_bytes = tail_bytes + ?
    WHERE number = ? RETURNING tail_offset, tail_chunks, tail_bytes
"""
_INSERT_CHUNK = """
    INSERT INTO chunks (session, first_offset, end_offset, first_time_us, last_time_us, stdout_line,
        stderr_line, tty_line, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_READ_CHUNKS = """
    SELECT first_offset, end_offset, records FROM chunks WHERE session = ?1 AND first_offset >= (
        SELECT max(first_offset) FROM chunks WHERE session = ?1 AND first_offset <= ?2)
    ORDER BY first_offset
"""


class SqliteStore:
    """A ``Store`` in DIR/ptyshipper.db.

    Raises:
        BackendError: the database can't be opened, is damaged, or is a newer version's.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / FILE_NAME
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            self._configure(path)
        except sqlite3.Error as error:
            raise BackendError(f"can't use the database {path}: {error}") from None

    def _configure(self, path: Path) -> None:
        for setting in _SETTINGS:
            self._db.execute(f"PRAGMA {setting}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise BackendError(
                f"{path} was written by a newer ptyshipper (schema {version}, this one knows"
                f" {SCHEMA_VERSION}); upgrade, or serve another --data directory"
            )
        for number in range(version + 1, SCHEMA_VERSION + 1):
            schema = resources.files(__package__).joinpath(f"schema/{number:04d}.sql").read_text()
            self._db.executescript(f"BEGIN; {schema} PRAGMA user_version = {number}; COMMIT;")
        # Whoever was connected when the last process died was seen until then.
        self._db.execute(
            "UPDATE sessions SET connected = 0, last_seen_us ="
            " max(last_seen_us, (SELECT alive_us FROM server)) WHERE connected"
        )

    def commit(self, writes: Sequence[Write]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in writes:
                self._write(write.session, write.chunk)
            self._db.execute("COMMIT")
        except Exception as error:
            # Whatever it was: half a transaction must not stay open for the next one to finish.
            self._roll_back()
            raise StoreError(f"the database can't be written: {error}") from error

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself, or will when the next BEGIN reads the log

    def _write(self, session: Session, chunk: Chunk | None) -> None:
        if session.number == 0:
            self._insert(session)
        if chunk is not None:
            self._db.execute(_INSERT_CHUNK, (session.number, *chunk))
        size = 0 if chunk is None else len(chunk.records)
        small = chunk is not None and size < SMALL_CHUNK_BYTES
        tail_offset, tail_chunks, tail_bytes = self._db.execute(
            _UPDATE_SESSION,
            (*_state_columns(session), int(small), size if small else 0, session.number),
        ).fetchone()
        if chunk is None:
            return
        if not small:
            # The run of small chunks ends before this one.
            if tail_chunks >= _WORTH_MERGING:
                self._merge(session.number, tail_offset, chunk.first_offset)
            self._begin_tail(session.number, chunk.end_offset)
        elif tail_chunks >= MERGE_CHUNKS or tail_bytes >= MERGE_BYTES:
            self._merge(session.number, tail_offset, chunk.end_offset)
            self._begin_tail(session.number, chunk.end_offset)

    def _insert(self, session: Session) -> None:
        about = session.description
        number = self._db.execute(
            _INSERT_SESSION,
            (
                session.id,
                about.deployment_id,
                about.type,
                about.hostname,
                command_text(about.command),
                about.tty,
                about.started_at_us,
                None,
                *_state_columns(session),
            ),
        ).lastrowid
        assert number is not None
        session.number = number

    def _begin_tail(self, session: int, offset: int) -> None:
        self._db.execute(
            "UPDATE sessions SET tail_offset = ?, tail_chunks = 0, tail_bytes = 0 WHERE number = ?",
            (offset, session),
        )

    def _merge(self, session: int, first_offset: int, end_offset: int) -> None:
        """Make one chunk of those between two offsets."""
        where = "session = ? AND first_offset >= ? AND first_offset < ?"
        rows = self._db.execute(
            "SELECT first_offset, end_offset, first_time_us, last_time_us, stdout_line, stderr_line,"
            f" tty_line, records FROM chunks WHERE {where} ORDER BY first_offset",
            (session, first_offset, end_offset),
        ).fetchall()
        chunks = [Chunk._make(row) for row in rows]
        merged = chunks[0]._replace(
            end_offset=chunks[-1].end_offset,
            last_time_us=chunks[-1].last_time_us,
            records=b"".join(chunk.records for chunk in chunks),
        )
        self._db.execute(f"DELETE FROM chunks WHERE {where}", (session, first_offset, end_offset))
        self._db.execute(_INSERT_CHUNK, (session, *merged))

    def load(self, session_id: bytes) -> Session | None:
        rows = self._read(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (session_id,))
        return _session(rows[0]) if rows else None

    def newest(self, limit: int, prefix: str = "", before: int | None = None) -> list[Session]:
        conditions, parameters = list[str](), list[Any]()
        if prefix:
            conditions.append("id BETWEEN ? AND ?")
            parameters += [bytes.fromhex(prefix.ljust(2 * SESSION_ID_BYTES, fill)) for fill in "0f"]
        if before is not None:
            conditions.append("number < ?")
            parameters.append(before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM sessions {where} ORDER BY number DESC LIMIT ?",
            (*parameters, limit),
        )
        return [_session(row) for row in rows]

    def _read(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be read: {error}") from None

    def read(self, session: int, from_offset: int, max_bytes: int) -> tuple[int, int, bytes] | None:
        parts: list[bytes] = []
        first_offset, read_bytes, end_offset = from_offset, 0, from_offset
        try:
            cursor = self._db.execute(_READ_CHUNKS, (session, from_offset))
            for chunk_offset, chunk_end, records in cursor:
                if chunk_end <= from_offset:
                    continue
                if not parts:
                    first_offset, records = records_from(records, chunk_offset, from_offset)
                if records:
                    parts.append(records)
                    read_bytes += len(records)
                    end_offset = chunk_end
                if read_bytes >= max_bytes:
                    break
            cursor.close()
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be read: {error}") from None
        if not parts:
            return None
        return first_offset, end_offset, parts[0] if len(parts) == 1 else b"".join(parts)

    def note_alive(self, now_us: int) -> None:
        try:
            self._db.execute("UPDATE server SET alive_us = ?", (now_us,))
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be written: {error}") from None

    def close(self) -> None:
        try:
            self._db.close()
        except sqlite3.Error:
            pass  # what is committed is in the log already


def _state_columns(session: Session) -> tuple[int | None, ...]:
    return (
        session.cols,
        session.rows,
        session.next_offset,
        session.output_bytes,
        session.stdout_lines,
        session.stderr_lines,
        session.tty_lines,
        session.gaps,
        session.lost_bytes,
        session.ended_us,
        session.exit_code,
        session.exit_signal,
        session.cut,
        session.connected,
        session.last_seen_us,
    )


def _session(row: tuple[Any, ...]) -> Session:
    session_id, deployment_id, kind, hostname, command, tty, started_at_us, *state = row
    about = Description(
        deployment_id, kind, hostname, tuple(json.loads(command)), bool(tty), started_at_us
    )
    session = Session(session_id, about, *state)
    session.cut, session.connected = bool(session.cut), bool(session.connected)
    return session
