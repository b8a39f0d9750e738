"""``/api/sessions/{id}/live``: a session's terminal, live, in the protocol of the stock asciinema-player.

A viewer gets the screen as it is (``replay``), then what happens on it. One who falls behind by more than
``LAG_BYTES`` gets the screen anew in place of what was missed; nobody waits for a viewer.

Events have the time at which they are sent: a player buffers up to 5 s where they are late by their own
account, and a hostile session tells any time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from starlette.types import Scope, Send

from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Subscription
from ptyshipper.backend.session import Chunk, Session, records_from
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers import alis
from ptyshipper.backend.viewers.replay import (
    DEFAULT_COLS,
    DEFAULT_ROWS,
    HEAD_BYTES,
    REPLAY_BYTES,
    Action,
    Exit,
    Marker,
    Output,
    Player,
    Resize,
    clears,
    has_clear,
    head_of,
    screen,
)
from ptyshipper.backend.viewers.watching import (
    LOOK_EVERY_S,
    READ_BYTES,
    Codes,
    SessionEndpoint,
)

LAG_BYTES = 1 << 20
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
        session, self._player = self._session, Player()
        actions, size = deque[Action](), 0
        begin = max(session.first_offset, session.next_offset - 2 * REPLAY_BYTES)
        self._offset, is_whole = begin, begin == 0
        last_us = 0
        while chunks := await self._read(self._offset):
            for chunk in chunks:
                async for action in self._actions(chunk):
                    actions.append(action)
                    size += _size(action)
                    while size > REPLAY_BYTES and len(actions) > 1:
                        size -= _size(actions.popleft())
                        is_whole = False
                self._offset = chunk.end_offset
                last_us = max(last_us, chunk.last_time_us)
            if self._offset >= session.next_offset:
                break  # of a session that grows faster than it is read, the end is nowhere
        cols, rows = session.cols or DEFAULT_COLS, session.rows or DEFAULT_ROWS
        head = "" if is_whole or clears(list(actions)) else await self._head(begin)
        seen = screen(list(actions), cols, rows, is_whole=is_whole, head=head)
        await self._send_bytes(
            self._writer.init(_now_us(), last_us, seen.cols, seen.rows, seen.text)
        )
        for action in (*seen.actions, *(each for each in actions if isinstance(each, Exit))):
            await self._send_bytes(self._message(action))

    async def _head(self, before: int) -> str:
        """What was drawn when the screen was cleared last before that offset, if that is not long ago."""
        number, offset = self._session.number, before
        while offset > max(self._session.first_offset, before - LOOK_BACK_BYTES):
            async with self._turns.slice():
                found = await self._store.chunk_at(number, offset - 1)
                chunks = await self._store.chunks(number, found.first_offset, 1) if found else []
            if not chunks or chunks[0].first_offset >= offset:
                break
            if has_clear(chunks[0].records):
                drawn = await self._store.chunks(number, chunks[0].first_offset, 2 * HEAD_BYTES)
                player = Player()
                return head_of([each for chunk in drawn for each in player.feed(chunk.records)])
            offset = chunks[0].first_offset
        return ""

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


def _size(action: Action) -> int:
    return len(action.text) if isinstance(action, Output) else 16


def _now_us() -> int:
    return int(asyncio.get_running_loop().time() * 1_000_000)
