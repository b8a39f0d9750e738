"""What the viewers' WebSockets have in common: who is let in, and is shown a session until they leave."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import ClassVar, NamedTuple

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import Access, View, accept, close_message
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout, Subscription
from ptyshipper.backend.faults import where
from ptyshipper.backend.seats import NO_SEAT_RETRY_S
from ptyshipper.backend.session import Session, session_id_of
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.paths import SESSIONS_PATH

READ_BYTES = 262_144
LOOK_EVERY_S = 5.0
"""A session that is cut off makes no commit: its viewers look for themselves."""

LOCKED_OUT = "the token was revoked or has expired"
_PATH = re.compile(re.escape(SESSIONS_PATH) + "/([^/]*)/([^/]*)")

log = logging.getLogger("ptyshipper.backend")


class Codes(NamedTuple):
    """With what a viewer's WebSocket is closed: at the end of what there is to show; because it said
    something, its token counts no more, or there is no such session; and when we failed."""

    done: int
    spoke: int
    locked_out: int
    not_found: int
    try_later: int
    failed: int


class Unshowable(Exception):
    """What the viewer asks for can't be shown; the WebSocket is closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


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


class SessionEndpoint:
    """ASGI application for scopes of type ``websocket`` whose path ``matches``: shows a session.

    ``word`` is the path's last part; ``kind`` is what its viewers are counted as.
    """

    word: ClassVar[str]
    kind: ClassVar[str]
    subprotocol: ClassVar[str]
    codes: ClassVar[Codes]

    def __init__(self, store: Store, fanout: Fanout, gallery: Gallery, turns: Turns) -> None:
        self.store = store
        self.turns = turns
        self._fanout = fanout
        self._gallery = gallery

    async def show(
        self, session: Session, subscription: Subscription, scope: Scope, send: Send
    ) -> None:
        """Show the session, and return at its end.

        Raises:
            Unshowable, StoreError: as told to the viewer.
        """
        raise NotImplementedError

    @classmethod
    def matches(cls, path: str) -> bool:
        found = _PATH.fullmatch(path)
        return found is not None and found[2] == cls.word

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._gallery.enter(
                scope, receive, send, self.subprotocol, self.kind
            ) as view:
                if view is not None:
                    showing = self._kept_up(view, scope, send)
                    locked_out = self.codes.locked_out
                    if await self._gallery.show(view, showing, receive, send, locked_out):
                        await close(send, self.codes.spoke, "a viewer sends nothing")
        except OSError:
            pass  # it went away: ASGI's sign for that

    async def _kept_up(self, view: View, scope: Scope, send: Send) -> None:
        """Show it, and close with what became of that."""
        codes = self.codes
        try:
            await self._show(view, scope, send)
            await close(send, codes.done, "")
        except Unshowable as error:
            await close(send, error.code, error.reason)
        except StoreError as error:
            log.error("%s", error)
            await close(send, codes.try_later, "the store can't be read at the moment")
        except (OSError, RuntimeError):
            pass  # it went away, or the server closed first: receive tells
        except Exception as error:
            log.error("a viewer's connection failed: %s", where(error))
            await close(send, codes.failed, "the backend failed unexpectedly")

    async def _show(self, view: View, scope: Scope, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"])
        session_id = session_id_of(path[1]) if path else None
        session = None if session_id is None else await self.store.load(session_id)
        if session is None or not view.shows(session):
            raise Unshowable(self.codes.not_found, "there is no such session")
        subscription = self._fanout.subscribe(session.id)
        try:
            await self.show(session, subscription, scope, send)
        finally:
            self._fanout.unsubscribe(session.id, subscription)


async def close(send: Send, code: int, reason: str) -> None:
    """Close the WebSocket, if it is still there."""
    try:
        await send(close_message(code, reason))
    except (OSError, RuntimeError):
        pass  # it went away, or the server closed first
