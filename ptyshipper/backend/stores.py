"""Which store it is, by the settings: the one place that knows all of them."""

from __future__ import annotations

from pathlib import Path

from ptyshipper.backend import directory
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.errors import StoreOutdated, UsageError


async def open_store(data_dir: Path, store_url: str | None) -> Store:
    """The store, for the backend that keeps sessions in it.

    Raises:
        UsageError: there is no store of that kind.
        BackendError: it can't be used.
    """
    _check(store_url)
    return SqliteStore(data_dir)


async def open_for_tokens(data_dir: Path, store_url: str | None) -> Store:
    """The store, to ask for tokens alone; a backend may have it at the same time.

    Raises:
        UsageError, BackendError: as above.
    """
    _check(store_url)
    directory.prepare(data_dir)
    try:
        return SqliteStore(data_dir, guest=True)
    except StoreOutdated:
        # Not made yet, or an earlier version's: it becomes this one's while nobody serves it.
        with directory.locked(data_dir):
            await SqliteStore(data_dir).close()
        return SqliteStore(data_dir, guest=True)


def _check(store_url: str | None) -> None:
    if store_url is not None:
        raise UsageError("--store: there is SQLite alone; leave it out, and choose --data")
