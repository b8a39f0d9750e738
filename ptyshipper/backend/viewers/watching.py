"""What the viewers' WebSockets have in common: who is let in, and is shown something until they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import Access, View, accept, close_message
from ptyshipper.backend.seats import NO_SEAT_RETRY_S

LOCKED_OUT = "the token was revoked or has expired"


class Gallery:
    """Lets viewers in: who may read, while there are seats, for as long as their token is good."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @asynccontextmanager
    async def enter(
        self, scope: Scope, receive: Receive, send: Send, subprotocol: str, kind: str
    ) -> AsyncIterator[View | None]:
        """What the viewer may see; None: they were not let in, and told so. ``kind`` is counted."""
        view = await self._access.reader(scope)
        if isinstance(view, HTTPStatus):
            await accept(scope, receive, send, view, subprotocol)
            yield None
            return
        with self._access.seat(kind, scope) as has_seat:
            refused = None if has_seat else HTTPStatus.SERVICE_UNAVAILABLE
            is_in = await accept(scope, receive, send, refused, subprotocol, NO_SEAT_RETRY_S)
            yield view if is_in else None

    async def show(
        self,
        view: View,
        showing: Coroutine[None, None, None],
        receive: Receive,
        send: Send,
        locked_out: int,
    ) -> bool:
        """Run ``showing`` until its viewer leaves, is closed by it, or is locked out, with that close code.

        Returns:
            Whether the viewer said anything, which ends it as well: a viewer listens.
        """
        task = asyncio.create_task(showing, name="viewer")
        closing = list[asyncio.Task[None]]()

        def lock_out() -> None:
            task.cancel()
            closing.append(asyncio.create_task(close(send, locked_out, LOCKED_OUT)))

        try:
            with self._access.watching(view, lock_out):
                event = await receive()
            return bool(event["type"] != "websocket.disconnect")
        finally:
            task.cancel()
            await asyncio.gather(task, *closing, return_exceptions=True)


async def close(send: Send, code: int, reason: str) -> None:
    """Close the WebSocket, if it is still there."""
    try:
        await send(close_message(code, reason))
    except (OSError, RuntimeError):
        pass  # it went away, or the server closed first
