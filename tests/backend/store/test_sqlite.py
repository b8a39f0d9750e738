"""The SQLite store: all or nothing, found again by offset, merged while small."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptyshipper.backend.digest import digest
from ptyshipper.backend.session import Chunk, Session, read_description
from ptyshipper.backend.store import sqlite
from ptyshipper.backend.store.base import Write
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.errors import BackendError, StoreError
from ptyshipper.records import decode
from tests.support.server import describe, exit_record, output

ALL = 1 << 40


def make(number: int = 1, **description: Any) -> Session:
    return Session(number.to_bytes(16, "big"), read_description(describe(**description)))


def write(session: Session, records: bytes) -> Write:
    """The write of one batch, as the committer makes it."""
    batch, first = digest(records, session.next_offset), session.next_offset
    lines = (session.stdout_lines, session.stderr_lines, session.tty_lines)
    session.append(batch)
    times = (batch.first_time_us, batch.last_time_us)
    return Write(session, Chunk(first, session.next_offset, *times, *lines, records))


def stored(store: SqliteStore, session: Session, from_offset: int = 0) -> bytes:
    found = store.read(session.number, from_offset, ALL)
    return b"" if found is None else found[2]


def chunk_sizes(data_dir: Path) -> list[int]:
    with sqlite3.connect(data_dir / sqlite.FILE_NAME) as db:
        rows = db.execute(
            "SELECT length(records) FROM chunks ORDER BY session, first_offset"
        ).fetchall()
    db.close()
    return [row[0] for row in rows]


def test_settings_are_in_force(tmp_path: Path) -> None:
    """Of a new database; one that is there keeps its page size."""
    store = SqliteStore(tmp_path)
    found = {
        name: store._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "journal_mode", "synchronous", "wal_autocheckpoint", "cache_size")
    }
    store.close()
    assert found == {
        "page_size": 8_192,
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 2_000,
        "cache_size": -16_384,
    }


def test_session_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    """Every field, also after the database was opened anew."""
    store = SqliteStore(tmp_path)
    session = make(command=["sh", "-c", "é \ud800"], hostname="web-0", tty=True)
    session.cut, session.last_seen_us = True, 5
    store.commit([write(session, output(b"a\nb") + exit_record(0, 9))])
    store.close()
    reopened = SqliteStore(tmp_path)
    assert reopened.load(session.id) == session
    assert reopened.newest(10) == [session]
    assert reopened.load(bytes(16)) is None
    reopened.close()


def test_newest_sessions_come_first(tmp_path: Path) -> None:
    """In the order that they came in, whatever their shippers' clocks say; at most as many as asked
    for, before a number, and by the digits that they begin with."""
    store = SqliteStore(tmp_path)
    sessions = [make(number, started_at_us=at) for number, at in ((1, 30), (2, 10), (3, 20))]
    store.commit([Write(session, None) for session in sessions])
    assert store.newest(2) == [sessions[2], sessions[1]]
    assert store.newest(2, before=sessions[1].number) == [sessions[0]]
    assert store.newest(10, "0" * 31, before=sessions[1].number) == [sessions[0]]
    assert store.newest(10, prefix="0" * 31 + "2") == [sessions[1]]
    assert len(store.newest(10, prefix="0" * 31)) == 3
    assert store.newest(10, prefix="1") == []
    store.close()


def test_read_begins_at_any_offset(tmp_path: Path) -> None:
    """At the first record at or behind it; between two records, in the middle of one, at the end."""
    store, session = SqliteStore(tmp_path), make()
    one = output(b"x" * 84)  # 100 bytes each
    for _ in range(5):
        store.commit([write(session, one * 2)])
    for offset in range(0, 1_001, 50):
        first = -(-offset // 100) * 100
        expected = None if first == 1_000 else (first, 1_000, one * ((1_000 - first) // 100))
        assert store.read(session.number, offset, ALL) == expected
    assert store.read(session.number, 0, 1) == (0, 200, one * 2)
    assert store.read(session.number, 0, 201) == (0, 400, one * 4)
    assert store.read(session.number, 5_000, ALL) is None
    store.close()


def test_lines_of_a_busy_session_are_merged(tmp_path: Path) -> None:
    """A line a commit does not stay a row a line, and nothing changes for a reader."""
    store, session = SqliteStore(tmp_path), make()
    lines = [output(f"line {number}\n".encode(), time_us=number) for number in range(1_000)]
    for line in lines:
        store.commit([write(session, line)])
    assert stored(store, session) == b"".join(lines)
    sizes = chunk_sizes(tmp_path)
    assert len(sizes) < 1_000 / sqlite.MERGE_CHUNKS + sqlite.MERGE_CHUNKS
    with sqlite3.connect(tmp_path / sqlite.FILE_NAME) as db:
        numbers = db.execute(
            "SELECT stdout_line, first_time_us, last_time_us FROM chunks ORDER BY number"
        )
        first_lines = numbers.fetchall()
    db.close()
    # Each line is a record here, so a chunk's first line is its first time, and it ends before the next.
    assert all(line == first for line, first, _ in first_lines)
    assert [last + 1 for _, _, last in first_lines[:-1]] == [line for line, _, _ in first_lines[1:]]
    store.close()


def test_bulk_is_not_rewritten(tmp_path: Path) -> None:
    """Large chunks stay as they came; the small ones between them are merged when worth it."""
    store, session = SqliteStore(tmp_path), make()
    bulk, small = output(b"x" * 60_000), output(b"y" * 84)
    batches = [bulk, bulk, *[small] * 10, bulk, *[small] * 3, bulk]
    for batch in batches:
        store.commit([write(session, batch)])
    assert chunk_sizes(tmp_path) == [60_016, 60_016, 1_000, 60_016, 100, 100, 100, 60_016]
    assert stored(store, session) == b"".join(batches)
    store.close()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([10, 200, 5_000, 20_000])), max_size=150)
)
def test_any_mix_of_chunks_reads_back(
    tmp_path_factory: pytest.TempPathFactory, mix: list[tuple[int, int]]
) -> None:
    """Sessions interleaved, sizes mixed: each session's bytes are its own, in order, once."""
    data_dir = tmp_path_factory.mktemp("mix")
    store, sessions = SqliteStore(data_dir), [make(number) for number in (1, 2, 3)]
    expected = {session.id: b"" for session in sessions}
    for index, (which, size) in enumerate(mix):
        session, batch = sessions[which], output(bytes([index % 256]) * size)
        store.commit([write(session, batch)])
        expected[session.id] += batch
    for session in sessions:
        if session.number:
            assert stored(store, session) == expected[session.id]
            assert (
                sum(record.size for record in decode(stored(store, session))) == session.next_offset
            )
    store.close()


def test_full_disk_rolls_back_everything(tmp_path: Path) -> None:
    """The session's state and the other sessions of the transaction with it; later commits work."""
    store, victim, bystander = SqliteStore(tmp_path), make(1), make(2)
    store.commit([write(victim, output(b"before"))])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StoreError, match="full"):
        store.commit([write(bystander, output(b"y")), write(victim, output(b"x" * 65_000))])
    reloaded = store.load(victim.id)
    assert reloaded is not None
    assert reloaded.next_offset == len(output(b"before"))
    assert store.load(bystander.id) is None
    assert stored(store, reloaded) == output(b"before")
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.commit([write(reloaded, output(b"after"))])
    assert stored(store, reloaded) == output(b"before") + output(b"after")
    store.close()


def test_locked_database_is_a_store_error(tmp_path: Path) -> None:
    """Somebody else's transaction is waited for a moment, no longer."""
    store = SqliteStore(tmp_path)
    other = sqlite3.connect(tmp_path / sqlite.FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.commit([write(make(), output(b"x"))])
    other.execute("ROLLBACK")
    other.close()
    store.commit([write(make(), output(b"x"))])
    store.close()


def test_sessions_of_a_dead_backend_were_seen_until_it_was_alive_last(tmp_path: Path) -> None:
    """Those that were connected; the others keep their own time."""
    store, connected, left = SqliteStore(tmp_path), make(1), make(2)
    connected.connected, connected.last_seen_us, left.last_seen_us = True, 10, 20
    store.commit([Write(connected, None), Write(left, None)])
    store.note_alive(1_000)
    store.close()
    reopened = SqliteStore(tmp_path)
    found = {
        session.id: (session.connected, session.last_seen_us) for session in reopened.newest(2)
    }
    assert found == {connected.id: (False, 1_000), left.id: (False, 20)}
    reopened.close()


def test_durable_against_power_loss(tmp_path: Path) -> None:
    """The log is synced before a commit returns: WAL with synchronous=FULL."""
    store = SqliteStore(tmp_path)
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    store.close()


def test_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / sqlite.FILE_NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BackendError, match="newer ptyshipper"):
        SqliteStore(tmp_path)


def test_damaged_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / sqlite.FILE_NAME).write_bytes(b"no database" * 1_000)
    with pytest.raises(BackendError) as caught:
        SqliteStore(tmp_path)
    assert sqlite.FILE_NAME in str(caught.value)
    assert "\n" not in str(caught.value)


def test_value_that_no_column_holds_leaves_no_transaction_open(tmp_path: Path) -> None:
    """It would be a flaw of ours; the next commit is none the worse for it."""
    store, flawed = SqliteStore(tmp_path), make(1)
    flawed.output_bytes = 2**70
    with pytest.raises(StoreError):
        store.commit([Write(flawed, None)])
    store.commit([write(make(2), output(b"x"))])
    assert len(store.newest(10)) == 1
    store.close()
