"""An SQLite database of any earlier version becomes one of this version, in numbered steps.

Each step is one transaction that ends with its number in ``user_version``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from ptyshipper.backend.digest import NO_LINES, OpenLines, digest
from ptyshipper.backend.session import MAX_INTEGER, span_of
from ptyshipper.errors import BackendError, ProtocolError, StoreOutdated

SCHEMA_VERSION = 3


def upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Make the schema of ``db`` this version's.

    Raises:
        BackendError: a newer version wrote the database.
        sqlite3.Error: it can't be read or written.
    """
    for number in range(_version(db, path) + 1, SCHEMA_VERSION + 1):
        schema = (
            resources.files(__package__).joinpath(f"schema/sqlite/{number:04d}.sql").read_text()
        )
        step = _STEPS.get(number)
        try:
            db.executescript(f"BEGIN IMMEDIATE; {schema}")
            if step is not None:
                step(db)
            db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def check(db: sqlite3.Connection, path: Path) -> None:
    """Be content with the schema as it is.

    Raises:
        StoreOutdated: it is not there yet, or an earlier version's.
        BackendError, sqlite3.Error: as ``upgrade``.
    """
    if _version(db, path) < SCHEMA_VERSION:
        raise StoreOutdated(f"{path} is an earlier ptyshipper's; start 'ptyshipper serve' anew")


def _version(db: sqlite3.Connection, path: Path) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise BackendError(
            f"{path} was written by a newer ptyshipper (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); upgrade, or serve another --data directory"
        )
    return version


def _number_entries(db: sqlite3.Connection) -> None:
    """Version 1 knew newlines by stream and no entries: they are counted, chunk by chunk."""
    arrival, now_us = 0, time.time_ns() // 1000
    for number, started_at_us in db.execute(
        "SELECT number, started_at_us FROM sessions ORDER BY number"
    ).fetchall():
        entries, open_lines, size, first_arrival = 0, NO_LINES, 0, None
        for offset, end, first_us, last_us, records in db.execute(
            "SELECT first_offset, end_offset, first_time_us, last_time_us, records FROM chunks_1"
            " WHERE session = ? ORDER BY first_offset",
            (number,),
        ):
            added, lines_after = _count(records, offset, open_lines)
            stored_us = min(started_at_us + min(last_us, MAX_INTEGER - started_at_us), now_us)
            arrival = max(arrival + 1, stored_us)
            db.execute(
                "INSERT INTO chunks (session, first_offset, end_offset, first_time_us, last_time_us,"
                " first_entry, end_entry, stdout_open, stderr_open, tty_open, arrival, marks, records)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'', ?)",
                (number, offset, end, first_us, last_us, entries, entries + added, *open_lines,
                 arrival, records),
            )  # fmt: skip
            first_arrival = first_arrival or arrival
            entries, open_lines, size = entries + added, lines_after, size + len(records)
            arrival += max(0, added - 1)
        db.execute(
            "UPDATE sessions SET entries = ?, stdout_open = ?, stderr_open = ?, tty_open = ?,"
            " stored_bytes = ?, first_arrival = ?, last_arrival = ?, tail_offset = next_offset"
            " WHERE number = ?",
            (entries, *open_lines, size, first_arrival, arrival if size else 0, number),
        )
        db.execute(
            "UPDATE ledger SET arrival = ?, stored_bytes = stored_bytes + ?", (arrival, size)
        )
    db.execute("DROP TABLE chunks_1")
    db.execute("DROP TABLE sessions_1")


def _count(records: bytes, offset: int, open_lines: OpenLines) -> tuple[int, OpenLines]:
    try:
        counted = digest(records, offset, open_lines, max_records=len(records))
    except ProtocolError:
        return 0, open_lines  # the disk has damaged it: no reader gets anything out of it, either
    return counted.entries, counted.open_lines


def _note_extents(db: sqlite3.Connection) -> None:
    """Version 2 did not know how far a session has come."""
    for number, started_at_us, is_over, last_us in db.execute(
        "SELECT number, started_at_us, ended_us IS NOT NULL, (SELECT last_time_us FROM chunks"
        " WHERE session = sessions.number ORDER BY first_offset DESC LIMIT 1) FROM sessions"
    ).fetchall():
        if last_us is not None:
            span = span_of(last_us)
            until_us = started_at_us + (last_us + 1 if is_over else 1 << span)
            db.execute(
                "UPDATE sessions SET span = ?, until_us = ? WHERE number = ?",
                (span, min(until_us, MAX_INTEGER), number),
            )


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {2: _number_entries, 3: _note_extents}
