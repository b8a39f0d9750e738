"""What the viewers' WebSockets have in common: they are shown something until they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.types import Receive, Send

from ptyshipper.backend.access import close_message


async def show_until_left(showing: Coroutine[None, None, None], receive: Receive) -> bool:
    """Run ``showing`` until its viewer leaves, or is closed by it. Whether the viewer said anything, which
    ends it as well: a viewer listens."""
    task = asyncio.create_task(showing, name="viewer")
    try:
        event = await receive()
        return bool(event["type"] != "websocket.disconnect")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def close(send: Send, code: int, reason: str) -> None:
    """Close the WebSocket, if it is still there."""
    try:
        await send(close_message(code, reason))
    except (OSError, RuntimeError):
        pass  # it went away, or the server closed first
