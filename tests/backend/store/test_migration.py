"""The schema is made once, whoever starts at once, and a newer one is left alone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from ptyshipper.backend.store import migration
from ptyshipper.backend.store.base import Query
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.errors import BackendError
from tests.backend.store.conftest import Open
from tests.support.postgres import ask, query
from tests.support.server import output
from tests.support.sessions import opened, put, stored


def test_every_step_has_its_file() -> None:
    names = sorted(step.name for step in migration.STEPS.iterdir())
    assert names == [f"{n:04d}.sql" for n in range(1, migration.SCHEMA_VERSION + 1)]


async def test_several_that_start_at_once_make_one_schema(open_postgres: Open) -> None:
    stores = await asyncio.gather(*(open_postgres() for _ in range(6)))
    for number, store in enumerate(stores, 1):
        await opened(store, number)
    assert len(await stores[0].sessions(Query())) == 6


NEXT = """
    ALTER TABLE sessions ADD COLUMN colour text;
    UPDATE sessions SET colour = 'red';
    SELECT pg_sleep(0.3);
"""
"""A step that can't be made twice, and takes so long that who starts at once comes while it is made."""


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Makes the program one with a schema that has a step more; its number."""
    version, steps = migration.SCHEMA_VERSION + 1, tmp_path / "steps"
    shutil.copytree(str(migration.STEPS), steps)
    (steps / f"{version:04d}.sql").write_text(NEXT)
    monkeypatch.setattr(migration, "STEPS", steps)
    monkeypatch.setattr(migration, "SCHEMA_VERSION", version)
    return version


async def test_upgrade_is_made_once_beside_backends_of_the_version_before(
    database: str, open_postgres: Open, next_version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas are replaced at once; a third is not yet, and goes on. What was stored stays."""
    with monkeypatch.context() as before:
        before.setattr(migration, "SCHEMA_VERSION", next_version - 1)
        older = await open_postgres()
    session = await opened(older, 1)
    await put(older, session, output(b"before\n"))
    begun, ended = asyncio.Event(), asyncio.Event()

    async def go_on() -> int:
        commits = 0
        while not ended.is_set():
            await put(older, session, output(b"during\n"))
            begun.set()
            commits += 1
        return commits

    going_on = asyncio.create_task(go_on())
    await begun.wait()
    newer = await asyncio.gather(open_postgres(), open_postgres())
    ended.set()
    commits = await going_on
    versions = await ask(database, "SELECT number FROM ptyshipper.versions ORDER BY number")
    assert [number for (number,) in versions] == list(range(1, next_version + 1))
    assert await ask(database, "SELECT colour FROM ptyshipper.sessions") == [("red",)]
    await put(older, session, output(b"after\n"))
    for number, store in enumerate(newer, 2):
        kept = output(b"before\n") + commits * output(b"during\n") + output(b"after\n")
        assert await stored(store, session) == kept
        await opened(store, number)


async def test_program_of_the_version_before_does_not_start_after_an_upgrade(
    open_postgres: Open, next_version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_postgres()
    monkeypatch.setattr(migration, "SCHEMA_VERSION", next_version - 1)
    with pytest.raises(
        BackendError, match=f"newer ptyshipper .schema {next_version}, this one knows"
    ):
        await open_postgres()


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
