"""The schema is made once, whoever starts at once, and a newer one is left alone."""

from __future__ import annotations

import asyncio
from importlib import resources

import pytest

from ptyshipper.backend import store as package
from ptyshipper.backend.store import migration
from ptyshipper.backend.store.base import Query
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.errors import BackendError
from tests.backend.store.conftest import Open
from tests.support.postgres import ask, query
from tests.support.sessions import opened


def test_every_step_has_its_file() -> None:
    steps = resources.files(package).joinpath("schema/postgres").iterdir()
    names = sorted(step.name for step in steps)
    assert names == [f"{n:04d}.sql" for n in range(1, migration.SCHEMA_VERSION + 1)]


async def test_several_that_start_at_once_make_one_schema(open_postgres: Open) -> None:
    stores = await asyncio.gather(*(open_postgres() for _ in range(6)))
    for number, store in enumerate(stores, 1):
        await opened(store, number)
    assert len(await stores[0].sessions(Query())) == 6


async def test_schema_that_is_there_needs_no_right_to_make_one(
    database: str,
) -> None:
    """An operator may make it for a role that may not create anything in the database."""
    await ask(database, "CREATE ROLE little LOGIN")
    await ask(database, "CREATE SCHEMA ptyshipper AUTHORIZATION little")
    store = await PostgresStore.open(database.replace("ptyshipper@", "little@"))
    await opened(store)
    await store.close()


def test_newer_schema_is_refused_in_one_line(
    database: str, runner: asyncio.Runner, open_postgres: Open
) -> None:
    runner.run(open_postgres())
    query(database, "INSERT INTO ptyshipper.versions (number) VALUES (99)")
    with pytest.raises(BackendError) as refused:
        runner.run(open_postgres())
    assert "newer ptyshipper (schema 99" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_step_that_fails_leaves_nothing(
    database: str, runner: asyncio.Runner, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start makes it."""
    with monkeypatch.context() as newer:
        newer.setattr(migration, "SCHEMA_VERSION", migration.SCHEMA_VERSION + 1)
        with pytest.raises(BackendError, match="can't use"):
            runner.run(open_postgres())
    assert query(database, "SELECT to_regnamespace('ptyshipper') IS NULL") == [(True,)]
    runner.run(open_postgres())
