"""What AnvilOps' tables say of apps: whose token it is, and which deployments it may ship."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.backend.store.connections import Connection

_APP_OF_SECRET = """
    SELECT app.id, array(SELECT id FROM public."Deployment" WHERE "appId" = app.id)
    FROM public."App" AS app WHERE app."logIngestSecret" = $1 AND $1 <> ''
"""
MAX_SECRET_BYTES = 1_024


class App(NamedTuple):
    """An app of AnvilOps', and the deployments that it has by now."""

    id: int
    deployments: frozenset[int]


async def app_of(connection: Connection, secret: bytes) -> App | None:
    """The app whose secret this is; None where it is nobody's, as an empty one always is."""
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return None
    if not text or "\0" in text or len(secret) > MAX_SECRET_BYTES:
        return None
    row = await connection.fetchrow(_APP_OF_SECRET, text)
    return None if row is None else App(row[0], frozenset(row[1]))
