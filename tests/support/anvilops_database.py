"""AnvilOps' tables in a database, and its server's live view: what it reads when it is notified.

From the facts of AnvilOps 0.5: Prisma's names, ``"Log"`` with nothing but its primary key.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from typing import NamedTuple

import asyncpg

from tests.support.patience import PATIENCE_S
from tests.support.postgres import query

TABLES = """
    CREATE TYPE "LogType" AS ENUM ('BUILD', 'RUNTIME');
    CREATE TYPE "LogStream" AS ENUM ('stdout', 'stderr');
    CREATE TABLE "App" (id serial PRIMARY KEY, name text, "logIngestSecret" text NOT NULL DEFAULT '');
    CREATE TABLE "Deployment" (id serial PRIMARY KEY,
        "appId" integer NOT NULL REFERENCES "App" (id) ON DELETE CASCADE);
    CREATE TABLE "Log" (id serial PRIMARY KEY, "createdAt" timestamp(3) NOT NULL DEFAULT now(),
        type "LogType" NOT NULL, "deploymentId" integer NOT NULL
            REFERENCES "Deployment" (id) ON DELETE CASCADE,
        timestamp timestamp(3) NOT NULL, index integer NOT NULL, content text NOT NULL,
        "podName" text, stream "LogStream" NOT NULL);
"""
ROWS_A_LOOK = 500


class Row(NamedTuple):
    """A row of ``"Log"``."""

    id: int
    type: str
    timestamp: datetime
    content: str
    pod: str
    stream: str


def make_tables(url: str) -> None:
    """AnvilOps' tables, empty."""
    for statement in TABLES.split(";"):
        if statement.strip():
            query(url, statement)


def add_app(url: str, app_id: int, secret: str, *deployments: int) -> None:
    """An app with this secret, and its deployments."""
    query(url, 'INSERT INTO "App" (id, "logIngestSecret") VALUES ($1, $2)', app_id, secret)
    for deployment_id in deployments:
        query(url, 'INSERT INTO "Deployment" (id, "appId") VALUES ($1, $2)', deployment_id, app_id)


def logged(url: str, deployment_id: int) -> list[Row]:
    """The deployment's rows in the order in which AnvilOps shows them."""
    rows = query(
        url,
        'SELECT id, type::text, timestamp, content, "podName", stream::text FROM "Log"'
        ' WHERE "deploymentId" = $1 ORDER BY timestamp, index',
        deployment_id,
    )
    return [Row(*row) for row in rows]  # type: ignore[arg-type]


class LiveView:
    """What AnvilOps' server shows of a deployment: on each notification, the newest 500 rows that it has
    not read."""

    def __init__(self, url: str, deployment_id: int, app_id: int) -> None:
        self.shown = list[str]()
        self.looks = 0
        self._url = url
        self._channels = (f"deployment_{deployment_id}_logs", f"app_{app_id}_logs")
        self._deployment_id = deployment_id
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> LiveView:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        self._stop, woken = asyncio.Event(), asyncio.Event()
        connection = await asyncpg.connect(self._url)

        def notified(_: object, pid: int, channel: str, payload: str) -> None:
            assert payload == ""
            if channel == self._channels[0]:
                woken.set()

        for channel in self._channels:
            await connection.add_listener(channel, notified)
        self._ready.set()
        seen, stopping = 0, asyncio.create_task(self._stop.wait())
        while not self._stop.is_set():
            waking = asyncio.create_task(woken.wait())
            await asyncio.wait([waking, stopping], return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            woken.clear()
            rows = await connection.fetch(
                'SELECT id, content FROM "Log" WHERE "deploymentId" = $1 AND id > $2'
                " ORDER BY id DESC LIMIT $3",
                self._deployment_id,
                seen,
                ROWS_A_LOOK,
            )
            self.looks += 1
            self.shown += [row["content"] for row in reversed(rows)]
            seen = max([seen, *(row["id"] for row in rows)])
        await connection.close()
