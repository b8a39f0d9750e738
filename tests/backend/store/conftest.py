"""Tests of the stores may be coroutines; each runs in a loop of its own, in which its stores are closed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptyshipper.backend.store.base import Store
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.backend.store.sqlite import SqliteStore
from tests.support.postgres import Postgres

Open = Callable[[], Coroutine[Any, Any, Store]]
"""Opens the test's database once more, as another process would."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def closing(runner: asyncio.Runner) -> Iterator[list[Store]]:
    """What is in it is closed in the test's own loop."""
    stores = list[Store]()
    yield stores
    for store in stores:
        runner.run(store.close())


@pytest.fixture
def open_sqlite(tmp_path: Path, closing: list[Store]) -> Open:
    async def open_() -> Store:
        closing.append(SqliteStore(tmp_path))
        return closing[-1]

    return open_


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def open_postgres(database: str, closing: list[Store]) -> Open:
    async def open_() -> Store:
        closing.append(await PostgresStore.open(database))
        return closing[-1]

    return open_


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest) -> Open:
    opens: Open = request.getfixturevalue(f"open_{request.param}")
    return opens


@pytest.fixture
def store(open_store: Open, runner: asyncio.Runner) -> Store:
    return runner.run(open_store())
