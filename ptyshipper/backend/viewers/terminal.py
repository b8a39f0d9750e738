"""``/api/sessions/{id}/live``: a session's terminal, live, in the protocol of the stock asciinema-player.

A viewer gets the screen as it is (``screens``), then what happens on it. One who falls behind by more than
``LAG_BYTES`` gets the screen anew in place of what was missed; nobody waits for a viewer.

Events have the time at which they are sent: a player buffers up to 5 s where they are late by their own
account, and a hostile session tells any time.
"""

from __future__ import annotations

import asyncio
import time

from starlette.types import Scope, Send

from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Subscription
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers import alis
from ptyshipper.backend.viewers.joining import TerminalReader
from ptyshipper.backend.viewers.replay import Action, Exit, Marker, Output, Resize
from ptyshipper.backend.viewers.watching import LOOK_EVERY_S, Codes, SessionEndpoint

LAG_BYTES = 1 << 20
END_AFTER_S = 0.5
"""An EOT discards what a player has buffered, so it comes this much behind the last output."""


class TerminalEndpoint(SessionEndpoint):
    """Shows a session's terminal until it has exited."""

    word = "live"
    kind = "terminal"
    subprotocol = alis.SUBPROTOCOL
    # A player takes 4000 to 4100 for the end, and shows the reason; on others it connects again.
    codes = Codes(
        done=1000, spoke=4005, locked_out=4030, not_found=4040, try_later=1013, failed=1011
    )

    async def show(
        self, session: Session, subscription: Subscription, scope: Scope, send: Send
    ) -> None:
        shown = _Shown(self.store, self.turns, session, subscription, send)
        await shown.run()
        await asyncio.sleep(END_AFTER_S)
        await shown.end()


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
