"""Tokens for a backend that runs, made as ``ptyshipper token create`` makes them."""

from __future__ import annotations

import asyncio
import time

from ptyshipper.backend.credentials import Kind, issue
from ptyshipper.backend.stores import open_for_tokens
from tests.support.server import Server


def make_token(
    server: Server, kind: Kind, *, deployment_id: int | None = None, app_id: int | None = None
) -> str:
    """The secret of a new token in the store of ``server``."""
    secret, token = issue(kind, time.time_ns() // 1000, deployment_id=deployment_id, app_id=app_id)

    async def keep() -> None:
        store = await open_for_tokens(server.data_dir, server.flags.get("store_url"))
        await store.add_token(token)
        await store.close()

    asyncio.run(keep())
    return secret
