"""Connections are lent, and made anew where one failed; what is told of a failure holds no password."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from ptyshipper.backend.store.connections import (
    _SETTINGS,
    Connection,
    Connections,
    connect,
    one_line,
    place,
)
from ptyshipper.errors import StoreError
from tests.support.patience import PATIENCE_S
from tests.support.postgres import Postgres, ask


async def backend_pid(connections: Connections) -> int:
    async with connections.lend("read") as connection:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return pid


async def test_connection_is_lent_again(database: str) -> None:
    """It is prepared once; no more than the limit are made."""
    prepared = list[Connection]()

    async def prepare(connection: Connection) -> None:
        prepared.append(connection)

    connections = Connections(database, 1, prepare)
    pids = await asyncio.gather(*(backend_pid(connections) for _ in range(5)))
    assert len(set(pids)) == len(prepared) == 1
    connections.close()


async def test_connection_whose_borrower_failed_is_given_up(database: str) -> None:
    """Whatever it was: what the server still does for it, nobody waits for."""
    connections = Connections(database, 1)
    first = await backend_pid(connections)
    with pytest.raises(StoreError, match=r"^the database can't be read: division by zero$"):
        async with connections.lend("read") as connection:
            await connection.execute("SELECT 1 / 0")
    second = await backend_pid(connections)
    waiting = asyncio.ensure_future(sleep_in(connections))
    while not await sleeps(database, second):
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    third = await backend_pid(connections)
    assert len({first, second, third}) == 3
    connections.close()


async def sleep_in(connections: Connections) -> None:
    async with connections.lend("read") as connection:
        await connection.execute("SELECT pg_sleep(60)")


async def sleeps(database: str, pid: int) -> bool:
    return (True,) in await ask(
        database, "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1", pid
    )


async def test_connection_that_the_server_closed_is_replaced(database: str) -> None:
    connections = Connections(database, 2)
    first = await backend_pid(connections)
    async with connections.lend("read") as connection:
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
    await ask(database, "SELECT pg_terminate_backend($1)", first)
    await gone.wait()
    assert await backend_pid(connections) != first
    connections.close()


async def test_client_that_stands_still_in_a_transaction_is_thrown_out(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks would hold everybody up."""
    monkeypatch.setitem(_SETTINGS, "idle_in_transaction_session_timeout", "100ms")
    connection = await connect(database)
    gone = asyncio.Event()
    connection.add_termination_listener(lambda _: gone.set())
    await connection.execute("BEGIN")
    await asyncio.wait_for(gone.wait(), PATIENCE_S)


async def test_commits_are_synced_whatever_the_database_says(database: str) -> None:
    """Off means that a power cut takes what was acknowledged; anything stronger stays."""
    name = database.rpartition("/")[2]
    for given, used in (("off", "on"), ("remote_apply", "remote_apply")):
        await ask(database, f"ALTER DATABASE {name} SET synchronous_commit = {given}")
        connection = await connect(database)
        assert await connection.fetchval("SHOW synchronous_commit") == used
        await connection.close()


def test_failure_is_told_in_one_line() -> None:
    """Of errors that may repeat the URL, nothing."""
    for error, told in (
        (TimeoutError(), "it does not answer"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ValueError("invalid literal for int(): 'pass@host'"), "its URL can't be understood"),
        (asyncpg.PostgresError("first\nsecond"), "first"),
        (asyncpg.DataError("value out of range"), "value out of range"),
        (ConnectionResetError(), "ConnectionResetError"),
    ):
        assert one_line(error) == told


def test_place_is_hosts_and_ports() -> None:
    """Neither user nor password, options nor what may be the rest of a password."""
    for url, told in (
        ("postgresql://me:s3cret@db.example:5433/logs?password=s3cret", "db.example:5433"),
        ("postgresql://me:s3cr@t@one:1,two:2/logs", "one:1,two:2"),
        ("postgresql://db.example/logs", "db.example"),
    ):
        assert place(url) == f"Postgres at {told}"
    for url in ("postgresql:///logs?host=/run/postgresql", "postgresql://me:s3cret@[bad/logs"):
        assert place(url) == "Postgres"


async def test_server_that_is_not_there_is_a_store_error(postgres: Postgres) -> None:
    connections = Connections(postgres.url("no_such_database"), 1)
    with pytest.raises(StoreError, match="no_such_database"):
        await backend_pid(connections)
