"""Which store it is, by the settings: the one place that knows all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ptyshipper.backend import directory
from ptyshipper.backend.memory import keep_large_blocks
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.errors import BackendError, StoreError, StoreOutdated

if TYPE_CHECKING:
    from ptyshipper.backend.bridge.store import AnvilopsStore


async def open_store(data_dir: Path, store_url: str | None) -> Store:
    """The store, for the backend that keeps sessions in it.

    Raises:
        BackendError: it can't be used.
    """
    return SqliteStore(data_dir) if store_url is None else await _open_database(store_url)


async def open_for_tokens(data_dir: Path, store_url: str | None) -> Store:
    """The store, to ask for tokens alone; a backend may have it at the same time.

    Raises:
        BackendError: as above.
    """
    if store_url is not None:
        return await _open_database(store_url)
    directory.prepare(data_dir)
    try:
        return SqliteStore(data_dir, guest=True)
    except StoreOutdated:
        # Not made yet, or an earlier version's: it becomes this one's while nobody serves it.
        with directory.locked(data_dir):
            await SqliteStore(data_dir).close()
        return SqliteStore(data_dir, guest=True)


async def open_anvilops(store_url: str) -> AnvilopsStore:
    """AnvilOps' own database, as the store.

    Raises:
        BackendError: as above.
    """
    keep_large_blocks()
    from ptyshipper.backend.bridge.store import AnvilopsStore

    store = await AnvilopsStore.open(store_url)
    try:
        await store.prepare()
    except StoreError as error:
        await store.close()
        raise BackendError(str(error)) from None
    return store


async def _open_database(url: str) -> Store:
    keep_large_blocks()
    # Loaded where it is needed: 8 MB.
    from ptyshipper.backend.store.postgres import PostgresStore

    return await PostgresStore.open(url)
