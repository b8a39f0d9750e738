"""What is particular to the SQLite store: the file, the disk under it, and what waits for what."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptyshipper.backend.session import Session
from ptyshipper.backend.store import sqlite
from ptyshipper.backend.store.base import Query, Write
from ptyshipper.backend.store.sqlite import BULK_BYTES, SqliteStore
from ptyshipper.errors import BackendError, StoreError
from tests.support.server import output
from tests.support.sessions import opened, opening, put, stored, write


def setting(store: SqliteStore, name: str) -> object:
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]


async def test_settings_are_in_force(tmp_path: Path) -> None:
    """Of a new database; one that is there keeps its page size. A commit is synced when it returns:
    WAL with synchronous=FULL."""
    store = SqliteStore(tmp_path)
    names = ("page_size", "auto_vacuum", "journal_mode", "synchronous", "cache_size")
    found = [setting(store, name) for name in (*names, "wal_autocheckpoint")]
    await store.close()
    assert found == [8_192, 2, "wal", 2, -16_384, 2_000]


def test_small_commits_never_wait(tmp_path: Path) -> None:
    """One is done when its coroutine has run once: no other task comes between."""
    store = SqliteStore(tmp_path)
    commit = store.commit([], [opening()])
    with pytest.raises(StopIteration) as ended:
        commit.send(None)
    assert len(ended.value.value.sessions) == 1
    with pytest.raises(StopIteration):
        store.close().send(None)


@contextmanager
def locked(tmp_path: Path) -> Iterator[None]:
    """Somebody else is writing, so that nobody else can."""
    other = sqlite3.connect(tmp_path / sqlite.FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def bulk(session: Session) -> Write:
    return write(session, output(b"x" * 65_000) * (BULK_BYTES // 65_000 + 1))


async def test_large_commits_hold_up_no_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes waits for them, in order."""
    monkeypatch.setattr(sqlite, "_BUSY_MS", 10_000)
    store = SqliteStore(tmp_path)
    session = await opened(store)
    before = await store.load(session.id)
    with locked(tmp_path):
        large = asyncio.create_task(store.commit([bulk(session)]))
        await asyncio.sleep(0)
        small = asyncio.create_task(opened(store, 2))
        alive = asyncio.create_task(store.note_alive(9_000))
        for _ in range(10):
            assert await store.load(session.id) == before
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in (large, small, alive))
    assert (await large).refused == set()
    await asyncio.gather(small, alive)
    assert len(await stored(store, session)) > BULK_BYTES
    assert await store.load(session.id) == session
    await store.close()


async def test_large_commit_that_is_given_up_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be stopped: it is stored when ``commit`` has ended, and what comes then works."""
    monkeypatch.setattr(sqlite, "_BUSY_MS", 10_000)
    store = SqliteStore(tmp_path)
    session, other = await opened(store, 1), await opened(store, 2)
    with locked(tmp_path):
        large = asyncio.create_task(store.commit([bulk(session)]))
        await asyncio.sleep(0.01)
        large.cancel()
        closing = asyncio.create_task(put(store, other, output(b"a\n")))
        await asyncio.sleep(0.01)
        assert not large.done()
    await closing
    assert large.cancelled()
    kept = await store.load(session.id)
    assert kept is not None
    assert kept.next_offset == session.next_offset
    assert len(await stored(store, kept)) == session.next_offset
    await store.close()


async def test_large_commit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    session = await opened(store)
    kept = await store.load(session.id)
    assert kept is not None
    store._db.execute(f"PRAGMA max_page_count = {int(str(setting(store, 'page_count'))) + 4}")
    with pytest.raises(StoreError, match="full"):
        await store.commit([bulk(session)])
    assert await store.load(session.id) == kept
    store._db.execute("PRAGMA max_page_count = 1000000")
    await put(store, kept, output(b"after"))
    assert await stored(store, kept) == output(b"after")
    await store.close()


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """And whoever was connected when the process died was seen until it last said that it was alive."""
    store = SqliteStore(tmp_path)
    connected, left = await opened(store, 1), await opened(store, 2)
    await put(store, connected, output(b"a\nb"))
    left.connected, left.last_seen_us = False, 20
    await store.commit([Write(left, None)])
    await store.note_alive(5_000)
    await store.close()
    reopened = SqliteStore(tmp_path)
    connected.connected, connected.last_seen_us = False, 5_000
    assert await reopened.sessions(Query()) == [left, connected]
    assert await stored(reopened, connected) == output(b"a\nb")
    await reopened.close()


async def test_full_disk_rolls_back_everything(tmp_path: Path) -> None:
    """The session's state and the other sessions of the transaction with it; later commits work."""
    store = SqliteStore(tmp_path)
    victim, bystander = await opened(store, 1), await opened(store, 2)
    await put(store, victim, output(b"before"))
    kept = await store.load(victim.id)
    assert kept is not None
    store._db.execute(f"PRAGMA max_page_count = {int(str(setting(store, 'page_count'))) + 4}")
    with pytest.raises(StoreError, match="full"):
        await store.commit(
            [write(bystander, output(b"y")), write(victim, output(b"x" * 65_000) * 9)]
        )
    assert await store.load(victim.id) == kept
    assert await stored(store, bystander) == b""
    assert await stored(store, kept) == output(b"before")
    store._db.execute("PRAGMA max_page_count = 1000000")
    await put(store, kept, output(b"after"))
    assert await stored(store, kept) == output(b"before") + output(b"after")
    await store.close()


async def test_locked_database_is_a_store_error(tmp_path: Path) -> None:
    """Somebody else's transaction is waited for a moment, no longer."""
    store = SqliteStore(tmp_path)
    other = sqlite3.connect(tmp_path / sqlite.FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await opened(store)
    other.execute("ROLLBACK")
    other.close()
    await opened(store)
    await store.close()


async def test_what_is_deleted_goes_back_to_the_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    session = await opened(store)
    for _ in range(20):
        await put(store, session, output(b"x" * 60_000))
    before = int(str(setting(store, "page_count")))
    while await store.expire(1 << 62, None, 5):
        pass
    assert int(str(setting(store, "page_count"))) < before / 2
    await store.close()


async def test_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await SqliteStore(tmp_path).close()
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
