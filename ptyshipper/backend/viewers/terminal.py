"""``/api/sessions/{id}/live``: a session's terminal, live, in the protocol of the stock asciinema-player.

A viewer gets the screen as it is (``screens``), then what happens on it. One who falls behind by more than
``LAG_BYTES`` gets the screen anew in place of what was missed; nobody waits for a viewer.

Events have the time at which they are sent: a player buffers up to 5 s where they are late by their own
account, and a hostile session tells any time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import View
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout, Subscription
from ptyshipper.backend.faults import where
from ptyshipper.backend.session import Chunk, Session, session_id_of
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers import alis
from ptyshipper.backend.viewers.joining import TerminalReader
from ptyshipper.backend.viewers.replay import Action, Exit, Marker, Output, Resize
from ptyshipper.backend.viewers.watching import Gallery, close
from ptyshipper.errors import StoreError
from ptyshipper.wire.paths import SESSIONS_PATH

LAG_BYTES = 1 << 20
LOOK_EVERY_S = 5.0
END_AFTER_S = 0.5
"""An EOT discards what a player has buffered, so it comes this much behind the last output."""

# A player takes 4000 to 4100 for the end, and shows the reason; on others it connects again.
DONE, SPOKE, LOCKED_OUT, NOT_FOUND, FAILED, TRY_LATER = 1000, 4005, 4030, 4040, 1011, 1013

_PATH = re.compile(re.escape(SESSIONS_PATH) + "/([^/]*)/live")

log = logging.getLogger("ptyshipper.backend")


class TerminalEndpoint:
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
            subprotocol = alis.SUBPROTOCOL
            async with self._gallery.enter(scope, receive, send, subprotocol, "terminal") as view:
                if view is not None:
                    await self._serve(view, scope, receive, send)
        except OSError:
            pass  # it went away: ASGI's sign for that

    async def _serve(self, view: View, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"])
        session_id = session_id_of(path[1]) if path else None
        session = None if session_id is None else await self._store.load(session_id)
        if session is None or not view.shows(session):
            await close(send, NOT_FOUND, "there is no such session")
            return
        showing = self._show(session, send)
        if await self._gallery.show(view, showing, receive, send, LOCKED_OUT):
            await close(send, SPOKE, "a viewer sends nothing")

    async def _show(self, session: Session, send: Send) -> None:
        subscription = self._fanout.subscribe(session.id)
        try:
            shown = _Shown(self._store, self._turns, session, subscription, send)
            await shown.run()
            await asyncio.sleep(END_AFTER_S)
            await shown.end()
            await close(send, DONE, "")
        except StoreError as error:
            log.error("%s", error)
            await close(send, TRY_LATER, "the store can't be read at the moment")
        except (OSError, RuntimeError):
            pass  # it went away, or the server closed first: receive tells
        except Exception as error:
            log.error("a viewer's connection failed: %s", where(error))
            await close(send, FAILED, "the backend failed unexpectedly")
        finally:
            self._fanout.unsubscribe(session.id, subscription)


class _Shown:
    """A session's terminal, as one viewer has it."""

    def __init__(
        self, store: Store, turns: Turns, session: Session, subscription: Subscription, send: Send
    ) -> None:
        self._store = store
        self._turns = turns
        self._session = session
        self._subscription = subscription
        self._send = send
        self._writer = alis.Writer()
        self._reader = TerminalReader(store, turns, session)

    async def run(self) -> None:
        """Show it until it has exited."""
        await self._send_bytes(alis.MAGIC)
        await self._begin()
        while True:
            # The session first: what is committed in between is then read, or wakes.
            self._session = await self._store.load(self._session.id) or self._session
            while (live := self._subscription.take(self._reader.offset)) is not None:
                await self._feed(live)
            if self._session.next_offset - self._reader.offset > LAG_BYTES:
                await self._begin()
            elif chunks := await self._reader.read():
                for chunk in chunks:
                    await self._feed(chunk)
            elif self._session.exited:
                return
            else:
                await self._subscription.wait(LOOK_EVERY_S)

    async def end(self) -> None:
        """Tell that nothing follows."""
        await self._send_bytes(self._writer.end(_now_us()))

    async def _begin(self) -> None:
        """Show the screen as it is by now, whatever was shown before."""
        session = self._session
        self._reader = TerminalReader(self._store, self._turns, session)
        joined = await self._reader.join(session.next_offset)
        since_us, seen = joined.last_us, joined.screen
        if not session.exited and session.last_arrival:
            # By the store's clock, since the pod's need not agree with it.
            since_us += max(0, time.time_ns() // 1000 - session.last_arrival)
        await self._send_bytes(
            self._writer.init(_now_us(), since_us, seen.cols, seen.rows, seen.text)
        )
        exits = [] if joined.exit is None else [joined.exit]
        for action in (*seen.actions, *exits):
            await self._send_bytes(self._message(action))

    async def _feed(self, chunk: Chunk) -> None:
        async for action in self._reader.actions(chunk):
            await self._send_bytes(self._message(action))

    def _message(self, action: Action) -> bytes:
        writer, now_us = self._writer, _now_us()
        match action:
            case Output(text):
                return writer.output(now_us, text)
            case Resize(cols, rows):
                return writer.resize(now_us, cols, rows)
            case Marker(label):
                return writer.marker(now_us, label)
            case Exit(status):
                return writer.exit(now_us, status)

    async def _send_bytes(self, message: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": message})


def _now_us() -> int:
    return int(asyncio.get_running_loop().time() * 1_000_000)
