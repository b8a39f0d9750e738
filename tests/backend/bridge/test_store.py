"""The bridge's store: what is behind becomes rows, whatever failed before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from ptyshipper.backend.bridge import store as bridge
from ptyshipper.backend.bridge.rows import BURST
from ptyshipper.backend.bridge.store import AnvilopsStore
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store.base import Opening, Write
from ptyshipper.errors import StoreError
from tests.support.anvilops_database import add_app, logged, make_tables
from tests.support.patience import PATIENCE_S
from tests.support.postgres import Postgres, query
from tests.support.server import describe, output
from tests.support.sessions import write

APP, DEPLOYMENT = 7, 70
Scenario = Callable[[AnvilopsStore, str], Coroutine[Any, Any, None]]


@pytest.fixture
def run(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Scenario], None]]:
    """Runs a scenario on a store that catches up."""
    monkeypatch.setattr(bridge, "AGAIN_AFTER_S", 0.01)
    with postgres.database() as url:
        make_tables(url)
        add_app(url, APP, "secret", DEPLOYMENT)

        async def main(scenario: Scenario) -> None:
            store = await AnvilopsStore.open(url)
            await store.prepare()
            catching_up = asyncio.create_task(store.catch_up())
            try:
                await scenario(store, url)
            finally:
                catching_up.cancel()
                await asyncio.wait([catching_up])
                await store.close()

        yield lambda scenario: asyncio.run(main(scenario))


async def opened(store: AnvilopsStore, deployment_id: int = DEPLOYMENT) -> Session:
    about = read_description(describe(deployment_id=deployment_id))
    session_id = deployment_id.to_bytes(16, "big")
    (session,) = (await store.commit([], [Opening(session_id, about, APP, False, 1)])).sessions
    assert session is not None
    return session


def written(session: Session, *lines: str) -> Write:
    return write(session, output("".join(f"{line}\n" for line in lines).encode()))


async def rows(url: str, count: int) -> list[str]:
    """The rows, once there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await asyncio.to_thread(logged, url, DEPLOYMENT)
            if len(found) >= count:
                return [row.content for row in found]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [StoreError("away"), ValueError("a flaw")])
@pytest.mark.parametrize("method", ["load", "_find"])
def test_what_could_not_be_caught_up_is_tried_again(
    run: Callable[[Scenario], None], method: str, error: Exception
) -> None:
    """Although nothing more comes of a session that stays connected."""

    async def scenario(store: AnvilopsStore, url: str) -> None:
        session = await opened(store)
        lines = [str(number) for number in range(BURST + 100)]
        whole, failures = getattr(store, method), 2

        async def failing(*arguments: Any) -> Any:
            nonlocal failures
            if arguments[-1]:  # nothing is looked for by a commit without openings
                failures -= 1
            if arguments[-1] and failures >= 0:
                raise error
            return await whole(*arguments)

        setattr(store, method, failing)
        await store.commit([written(session, *lines)])
        assert await rows(url, len(lines)) == lines
        assert failures < 0

    run(scenario)


def test_write_of_an_older_connection_leaves_the_newer_one_s_rows(
    run: Callable[[Scenario], None],
) -> None:
    """It was on its way when the newer one opened, and is refused; the newer one's lines still are rows at
    once."""

    async def scenario(store: AnvilopsStore, url: str) -> None:
        older = await opened(store)
        newer = await opened(store)
        done = await store.commit([written(older, "from the older")])
        assert done.refused == {0}
        await store.commit([written(newer, "one")])
        assert await rows(url, 1) == ["one"]
        await store.commit([written(newer, "two")])
        assert await rows(url, 2) == ["one", "two"]

    run(scenario)


def test_sessions_of_deleted_deployments_keep_no_others_from_being_found(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They will never be rows, and only so many are looked for at a time."""
    monkeypatch.setattr(bridge, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(bridge, "LEFT_AT_A_TIME", 1)

    async def scenario(_: AnvilopsStore, url: str) -> None:
        await asyncio.to_thread(add_app, url, APP + 1, "other", DEPLOYMENT + 1)
        dead = await AnvilopsStore.open(url)
        await dead.prepare()
        doomed, other = await opened(dead, DEPLOYMENT + 1), await opened(dead)
        lines = [str(number) for number in range(BURST + 1)]
        writes = [written(doomed, *lines), written(other, *lines)]
        doomed.connected = False
        await dead.commit(writes)
        delete = 'DELETE FROM "Deployment" WHERE id = $1'
        await asyncio.to_thread(query, url, delete, DEPLOYMENT + 1)
        other.connected = False
        await dead.commit([Write(other, None)])
        await dead.close()
        assert await rows(url, len(lines)) == lines

    run(scenario)


def test_what_retention_has_deleted_is_not_looked_for_any_more(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It will never be rows; what comes in the session afterwards still will."""
    monkeypatch.setattr(bridge, "LOOK_EVERY_S", 0.05)

    async def scenario(store: AnvilopsStore, url: str) -> None:
        dead = await AnvilopsStore.open(url)
        await dead.prepare()
        session = await opened(dead)
        lines = [str(number) for number in range(BURST + 1)]
        await dead.commit([written(session, *lines)])
        while await dead.expire(1 << 62, None, 100):
            pass
        assert await store._read(bridge._LEFT, 1) == [], "its process may be alive"
        session.connected = False
        await dead.commit([Write(session, None)])
        await dead.close()
        async with asyncio.timeout(PATIENCE_S):
            while await store._read("SELECT entries FROM logged") != [(len(lines),)]:
                await asyncio.sleep(0.01)
        assert await store._read(bridge._LEFT, 1) == []
        again = await opened(store)
        await store.commit([written(again, "more")])
        assert await rows(url, BURST + 1) == [*lines[:BURST], "more"]

    run(scenario)
