"""``/api/sessions/{id}/live``: a session's terminal, live, in the protocol of the stock asciinema-player.

A viewer gets the screen as it is (``screens``), then what happens on it. One who falls behind by more than
``LAG_BYTES`` gets the screen anew in place of what was missed; nobody waits for a viewer.

Events have the time at which they are sent: a player buffers up to 5 s where they are late by their own
account, and a hostile session tells any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.types import Scope, Send

from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Subscription
from ptyshipper.backend.session import Chunk, Session, records_from
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers import alis
from ptyshipper.backend.viewers.replay import (
    DEFAULT_COLS,
    DEFAULT_ROWS,
    Action,
    Exit,
    Marker,
    Output,
    Player,
    Resize,
)
from ptyshipper.backend.viewers.screens import HEAD_BYTES, Screens, has_clear, last_switch
from ptyshipper.backend.viewers.watching import (
    LOOK_EVERY_S,
    READ_BYTES,
    Codes,
    SessionEndpoint,
)

LAG_BYTES = 1 << 20
WINDOW_BYTES = 4 << 20
"""So much of a session is read again for a viewer who joins: see ``screens`` for what is sent of it."""
LOOK_BACK_BYTES = 32 << 20
"""How far back the last clearing of the screen is looked for: 0.1 s of slices at most."""
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


class _End(NamedTuple):
    """How far the session is."""

    last_us: int = 0
    exit: Exit | None = None


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
        self._player = Player()
        self._offset = 0

    async def run(self) -> None:
        """Show it until it has exited."""
        await self._send_bytes(alis.MAGIC)
        await self._begin()
        while True:
            # The session first: what is committed in between is then read, or wakes.
            self._session = await self._store.load(self._session.id) or self._session
            while (live := self._subscription.take(self._offset)) is not None:
                await self._feed(live)
            if self._session.next_offset - self._offset > LAG_BYTES:
                await self._begin()
            elif chunks := await self._read(self._offset):
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
        begin = max(session.first_offset, session.next_offset - WINDOW_BYTES)
        screens = Screens(is_start=begin == 0)
        end = await self._feed_screens(screens, begin)
        if not screens.is_known and (head := await self._head(begin)) is not None:
            screens = head
            end = await self._feed_screens(screens, begin)
        cols, rows = session.cols or DEFAULT_COLS, session.rows or DEFAULT_ROWS
        seen = screens.screen(cols, rows)
        since_us = end.last_us
        if not session.exited and session.last_arrival:
            # By the store's clock, since the pod's need not agree with it.
            since_us += max(0, time.time_ns() // 1000 - session.last_arrival)
        await self._send_bytes(
            self._writer.init(_now_us(), since_us, seen.cols, seen.rows, seen.text)
        )
        exits = [] if end.exit is None else [end.exit]
        for action in (*seen.actions, *exits):
            await self._send_bytes(self._message(action))

    async def _feed_screens(self, screens: Screens, begin: int) -> _End:
        """Feed all that there is from ``begin`` on."""
        self._player, self._offset = Player(), begin
        end = _End()
        while chunks := await self._read(self._offset):
            for chunk in chunks:
                async for action in self._actions(chunk):
                    async with self._turns.slice():
                        screens.feed(action)
                    if isinstance(action, Exit):
                        end = end._replace(exit=action)
                self._offset = chunk.end_offset
                end = end._replace(last_us=max(end.last_us, chunk.last_time_us))
            if self._offset >= self._session.next_offset:
                break  # of a session that grows faster than it is read, the end is nowhere
        return end

    async def _head(self, before: int) -> Screens | None:
        """What was drawn when the screen was cleared last before that offset, if that is not long ago."""
        number, offset, drawn_at = self._session.number, before, -1
        switch = ""
        while offset > max(self._session.first_offset, before - LOOK_BACK_BYTES) and not switch:
            async with self._turns.slice():
                found = await self._store.chunk_at(number, offset - 1)
                chunks = await self._store.chunks(number, found.first_offset, 1) if found else []
                if not chunks or chunks[0].first_offset >= offset:
                    break
                offset = chunks[0].first_offset
                switch = last_switch(chunks[0].records)
                if drawn_at < 0 and has_clear(chunks[0].records):
                    drawn_at = offset
        if drawn_at < 0:
            return None
        screens = Screens(is_start=False)
        if drawn_at != offset:
            screens.feed(Output(switch))
        player = Player()
        async with self._turns.slice():
            for chunk in await self._store.chunks(number, drawn_at, 2 * HEAD_BYTES):
                for action in player.feed(chunk.records):
                    screens.feed(action)
        screens.skip()
        return screens

    async def _read(self, offset: int) -> list[Chunk]:
        async with self._turns.slice():
            return await self._store.chunks(self._session.number, offset, READ_BYTES)

    async def _actions(self, chunk: Chunk) -> AsyncIterator[Action]:
        """What is new in a chunk, which may have been merged with what was read."""
        _, records = records_from(chunk.records, chunk.first_offset, self._offset)
        actions = self._player.feed(records)
        while True:
            async with self._turns.slice():
                action = next(actions, None)
            if action is None:
                return
            yield action

    async def _feed(self, chunk: Chunk) -> None:
        async for action in self._actions(chunk):
            await self._send_bytes(self._message(action))
        self._offset = chunk.end_offset

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
