"""Connections to a Postgres server, lent out one at a time, and made anew where one has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg

from ptyshipper.errors import StoreError

CONNECT_WITHIN_S = 10.0
ANSWER_WITHIN_S = 20.0
"""A server that is silent for longer has failed: it may be a host that is gone, which tells nobody."""

SCHEMA = "ptyshipper"

_SETTINGS = {
    "application_name": "ptyshipper",
    "search_path": SCHEMA,
    # Of a client that is gone or stands still in the middle of a transaction, the server is to let go
    # soon: the others wait for its locks. Seconds; routers, too, forget connections that are silent.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "20s",
    "jit": "off",  # every statement takes less time than compiling it would
    # Functions keep their plans, and make them while the tables are still empty.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# An ACK is a promise that a power cut can't break; what waits for standbys, too, is the server's choice.
_SYNC = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)

Connection: TypeAlias = asyncpg.Connection
Prepare = Callable[[Connection], Awaitable[None]]


async def connect(url: str) -> Connection:
    """A connection whose every statement is bounded in time.

    Raises:
        Exception: what asyncpg raises, and OSError, TimeoutError; see ``one_line``.
    """
    connection = await asyncpg.connect(
        url, timeout=CONNECT_WITHIN_S, command_timeout=ANSWER_WITHIN_S, server_settings=_SETTINGS
    )
    try:
        await connection.execute(_SYNC)
    except BaseException:
        connection.terminate()
        raise
    return connection


class Connections:
    """At most ``limit`` connections at a time.

    Args:
        prepare: what is done with a new one before it is lent.
    """

    def __init__(self, url: str, limit: int, prepare: Prepare | None = None) -> None:
        self._url = url
        self._prepare = prepare
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def lend(self, what: str) -> AsyncIterator[Connection]:
        """A connection for the body. If that fails, the connection is given up: what the server still
        does for it, nobody waits for.

        Args:
            what: what is done in the body, as in "the database can't be <written>".

        Raises:
            StoreError: for whatever is raised in the body.
        """
        try:
            async with self._free:
                connection = await self._take()
                try:
                    yield connection
                except BaseException:
                    connection.terminate()
                    raise
                self._idle.append(connection)
        except Exception as error:
            raise StoreError(f"the database can't be {what}: {one_line(error)}") from error

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        connection = await connect(self._url)
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def close(self) -> None:
        """Drop those that are idle."""
        while self._idle:
            self._idle.pop().terminate()


def is_misread(error: BaseException) -> bool:
    """The URL can't be understood; what is said about it may repeat a part of the password."""
    return isinstance(error, ValueError) and not isinstance(error, asyncpg.DataError)


def one_line(error: BaseException) -> str:
    """What went wrong, for a person; nothing of the URL, which may hold a password."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if is_misread(error):
        return "its URL can't be understood"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def place(url: str) -> str:
    """Where the server is, for a person: of the URL its hosts and nothing else."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        hosts = ""
    return f"Postgres at {hosts}" if hosts else "Postgres"
