"""The viewers' WebSocket: a session's records from an offset on, history and live in one go."""

from __future__ import annotations

import logging
import re
import time
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import View
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout, Subscription
from ptyshipper.backend.faults import where
from ptyshipper.backend.session import Chunk, records_from, session_id_of
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.watching import Gallery, close
from ptyshipper.errors import StoreError
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.paths import SESSIONS_PATH

READ_BYTES = 262_144
LOOK_EVERY_S = 5.0
"""A session that is cut off makes no commit: its viewers look for themselves."""

_PATH = re.compile(re.escape(SESSIONS_PATH) + "/([^/]*)/records")

log = logging.getLogger("ptyshipper.backend")


class ViewEndpoint:
    """ASGI application for scopes of type ``websocket`` whose path ``matches``."""

    def __init__(self, store: Store, fanout: Fanout, gallery: Gallery, turns: Turns) -> None:
        self._store = store
        self._fanout = fanout
        self._gallery = gallery
        self._turns = turns

    @staticmethod
    def matches(path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            subprotocol = messages.VIEWER_SUBPROTOCOL
            async with self._gallery.enter(scope, receive, send, subprotocol, "records") as view:
                if view is not None:
                    await self._serve(view, scope, receive, send)
        except OSError:
            pass  # it went away: ASGI's sign for that

    async def _serve(self, view: View, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _question(scope)
        if asked is None:
            await close(send, CloseCode.MALFORMED, "ask with from=<offset>&follow=<0|1>")
            return
        path = _PATH.fullmatch(scope["path"])
        session_id = session_id_of(path[1]) if path else None
        if session_id is None:
            await close(send, CloseCode.NOT_FOUND, "there is no such session")
            return
        offset, follow = asked
        subscription = self._fanout.subscribe(session_id)
        showing = self._show(view, session_id, offset, follow, subscription, send)
        try:
            if await self._gallery.show(view, showing, receive, send, CloseCode.UNAUTHORIZED):
                await close(send, CloseCode.MALFORMED, "a viewer sends nothing")
        finally:
            self._fanout.unsubscribe(session_id, subscription)

    async def _show(
        self,
        view: View,
        session_id: bytes,
        offset: int,
        follow: bool,
        subscription: Subscription,
        send: Send,
    ) -> None:
        """Send everything from ``offset`` on, then the summary, then close."""
        try:
            session = await self._store.load(session_id)
            if session is None or not view.shows(session):
                await close(send, CloseCode.NOT_FOUND, "there is no such session")
                return
            while True:
                live = subscription.take(offset)
                if live is not None:
                    await _send(send, messages.batch(live.first_offset, live.records))
                    offset = live.end_offset
                    continue
                async with self._turns.slice():
                    # The session first: what is committed in between is then read, or wakes.
                    session = await self._store.load(session_id) or session
                    stored = await self._store.chunks(session.number, offset, READ_BYTES)
                if stored:
                    first_offset, records = _records_from(stored, offset)
                    offset = stored[-1].end_offset
                    if records:
                        await _send(send, messages.batch(first_offset, records))
                    continue
                now_us = time.time_ns() // 1000
                if not follow or session.state(now_us) != "running":
                    await _send(send, messages.summary(session.summary(now_us)))
                    await close(send, CloseCode.DONE, "")
                    return
                await subscription.wait(LOOK_EVERY_S)
        except StoreError as error:
            log.error("%s", error)
            await close(send, CloseCode.STORE, "the store can't be read at the moment")
        except (OSError, RuntimeError):
            pass  # it went away, or the server closed first: receive tells
        except Exception as error:
            log.error("a viewer's connection failed: %s", where(error))
            await close(send, CloseCode.INTERNAL, "the backend failed unexpectedly")


def _records_from(chunks: list[Chunk], offset: int) -> tuple[int, bytes]:
    first_offset, records = records_from(chunks[0].records, chunks[0].first_offset, offset)
    if not records:
        first_offset = chunks[0].end_offset
    return first_offset, b"".join([records, *(chunk.records for chunk in chunks[1:])])


def _question(scope: Scope) -> tuple[int, bool] | None:
    """``from`` and ``follow`` of the query, 0 where they are missing; None for nonsense."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    offset, follow = query.get("from", ["0"])[-1], query.get("follow", ["0"])[-1]
    if not (offset.isascii() and offset.isdigit() and len(offset) <= 19):
        return None
    if int(offset) > messages.MAX_OFFSET or follow not in ("0", "1"):
        return None
    return int(offset), follow == "1"


async def _send(send: Send, message: bytes) -> None:
    await send({"type": "websocket.send", "bytes": message})
