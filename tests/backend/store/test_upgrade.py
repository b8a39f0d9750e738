"""A database that version 1 wrote is read, counted and gone on with by this one."""

from __future__ import annotations

import sqlite3
import time
from importlib import resources
from pathlib import Path

import pytest

from ptyshipper.backend import store as package
from ptyshipper.backend.digest import digest
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store import sqlite, upgrade
from ptyshipper.backend.store.base import Query
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.errors import BackendError
from ptyshipper.records import Kind, encode
from tests.support.server import describe, exit_record, output, start_record
from tests.support.sessions import ALL, opened, put, stored

STARTED_US = 1_700_000_000_000_000
ALIVE_US = STARTED_US + 60_000_000

# Four chunks of a session that ended: lines of all streams that go on over chunks, and events.
ENDED = [
    start_record() + output(b"one\ntw", time_us=10) + output(b"e", Kind.STDERR, time_us=11),
    output(b"o\n", time_us=20) + encode(Kind.SIGNALLED, 21, bytes([15])),
    output(b"rr\nthr", Kind.STDERR, time_us=30) + output(b"t", Kind.TTY, time_us=31),
    exit_record(3, time_us=40),
]
LIVE = [output(b"still here", time_us=5_000_000)]


def write_version_1(data_dir: Path) -> None:
    """As its code did: sessions with lines by stream, chunks with the number of their first line."""
    db = sqlite3.connect(data_dir / sqlite.FILE_NAME, isolation_level=None)
    schema = resources.files(package).joinpath("schema/sqlite/0001.sql").read_text()
    db.executescript(f"BEGIN; {schema} PRAGMA user_version = 1; COMMIT;")
    db.execute("UPDATE server SET alive_us = ?", (ALIVE_US,))
    for number, (batches, ended, connected) in enumerate(((ENDED, 40, 0), (LIVE, None, 1)), 1):
        size = sum(map(len, batches))
        db.execute(
            "INSERT INTO sessions VALUES (?, ?, 7, 'runtime', 'web-0', '[\"echo\",\"hi\"]', 0, ?, 80, 24,"
            " ?, 10, 1, 1, 0, 0, 0, ?, ?, NULL, 0, ?, ?, 0, 3, 99)",
            (number, number.to_bytes(16, "big"), STARTED_US, size, ended,
             3 if ended else None, connected, STARTED_US + 5_000_000),
        )  # fmt: skip
        offset = 0
        for records in batches:
            batch = digest(records, offset)
            times = batch.first_time_us, batch.last_time_us
            db.execute(
                "INSERT INTO chunks (session, first_offset, end_offset, first_time_us, last_time_us,"
                " stdout_line, stderr_line, tty_line, records) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?)",
                (number, offset, batch.end_offset, *times, records),
            )
            offset = batch.end_offset
    db.close()


def expected(number: int, batches: list[bytes]) -> Session:
    """The session as this version would have it, but for its ids."""
    session = Session(number.to_bytes(16, "big"), read_description(describe()))
    for records in batches:
        session.append(digest(records, session.next_offset, session.open_lines))
    session.number, session.last_seen_us = number, STARTED_US + 5_000_000
    session.output_bytes, session.cols, session.rows = 10, 80, 24
    return session


async def test_sessions_are_counted_anew(tmp_path: Path) -> None:
    """Entries and open lines as if this version had written them; the one that was connected was seen
    until the backend last said that it was alive."""
    write_version_1(tmp_path)
    store = SqliteStore(tmp_path)
    live, ended = await store.sessions(Query())
    assert 0 < ended.last_arrival < live.last_arrival == await store.horizon()
    ended.last_arrival = live.last_arrival = 0
    assert ended == expected(1, ENDED)
    alive = expected(2, LIVE)
    alive.last_seen_us = ALIVE_US
    assert live == alive
    await store.close()


async def test_chunks_are_numbered_and_dated(tmp_path: Path) -> None:
    """By entries, with ids that rise and are about the time at which the records were stored."""
    write_version_1(tmp_path)
    store = SqliteStore(tmp_path)
    offset, entry, open_lines, arrival = 0, 0, (-1, -1, -1), 0
    chunks = await store.chunks(1, 0, ALL)
    for chunk, records in zip(chunks, ENDED, strict=True):
        batch = digest(records, offset, open_lines)
        assert (chunk.records, chunk.first_offset, chunk.open_lines) == (
            records,
            offset,
            open_lines,
        )
        assert (chunk.first_entry, chunk.end_entry) == (entry, entry + batch.entries)
        assert chunk.arrival > arrival
        assert 0 <= chunk.arrival - (STARTED_US + batch.last_time_us) < 1_000
        offset, entry, open_lines = batch.end_offset, entry + batch.entries, batch.open_lines
        arrival = chunk.arrival + max(0, batch.entries - 1)
    (ended,) = await store.sessions(Query(prefix=(1).to_bytes(16, "big").hex()))
    assert ended.last_arrival == arrival
    await store.close()


async def test_sessions_go_on(tmp_path: Path) -> None:
    """The one that was live is opened, written and deleted as any other, once."""
    write_version_1(tmp_path)
    await SqliteStore(tmp_path).close()
    store = SqliteStore(tmp_path)
    session = await opened(store, 2)
    assert (session.number, session.epoch, session.next_offset) == (2, 1, len(LIVE[0]))
    newest = await put(store, session, output(b"\n"))
    assert await stored(store, session) == LIVE[0] + output(b"\n")
    assert newest.arrival > time.time_ns() // 1000 - 60_000_000
    while await store.expire(ALIVE_US, None, 10):
        pass
    assert [s.number for s in await store.sessions(Query())] == [2]
    assert await store.chunks(2, 0, ALL) == [newest]
    await store.close()


async def test_damaged_records_keep_their_place(tmp_path: Path) -> None:
    """They count as nothing; what is behind them is there."""
    write_version_1(tmp_path)
    with sqlite3.connect(tmp_path / sqlite.FILE_NAME) as db:
        db.execute("UPDATE chunks SET records = zeroblob(length(records)) WHERE number = 2")
    db.close()
    store = SqliteStore(tmp_path)
    chunks = await store.chunks(1, 0, ALL)
    assert [len(chunk.records) for chunk in chunks] == [len(records) for records in ENDED]
    assert chunks[1].first_entry == chunks[1].end_entry == chunks[2].first_entry
    await store.close()


async def test_step_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole: the next start makes the step."""
    write_version_1(tmp_path)

    def fail(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as failing:
        failing.setitem(upgrade._STEPS, 2, fail)
        with pytest.raises(BackendError, match="full"):
            SqliteStore(tmp_path)
    with sqlite3.connect(tmp_path / sqlite.FILE_NAME) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM chunks WHERE stdout_line = 0").fetchone() == (5,)
    db.close()
    store = SqliteStore(tmp_path)
    assert len(await store.sessions(Query())) == 2
    await store.close()


async def test_extents_of_sessions_are_found(tmp_path: Path) -> None:
    """As if this version had written them."""
    write_version_1(tmp_path)
    store = SqliteStore(tmp_path)
    live, ended = await store.sessions(Query())
    assert ended.until_us == STARTED_US + 40 + 1
    assert live.until_us == STARTED_US + 2**23
    await store.close()
