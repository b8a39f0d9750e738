"""A session's terminal from the middle on: the screen as it is there, then what happens on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Chunk, Session, records_from
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.replay import (
    DEFAULT_COLS,
    DEFAULT_ROWS,
    Action,
    Exit,
    Output,
    Player,
)
from ptyshipper.backend.viewers.screens import (
    HEAD_BYTES,
    Screen,
    Screens,
    has_clear,
    last_switch,
)
from ptyshipper.backend.viewers.watching import READ_BYTES

WINDOW_BYTES = 4 << 20
"""So much of a session is read again for the screen: see ``screens`` for what is sent of it."""
LOOK_BACK_BYTES = 32 << 20
"""How far back the last clearing of the screen is looked for: 0.1 s of slices at most."""


class Joined(NamedTuple):
    """The screen at a place of a session, and the session's time there."""

    screen: Screen
    last_us: int
    exit: Exit | None


class TerminalReader:
    """What a session's terminal does, in order. ``offset`` is how far it was read."""

    def __init__(self, store: Store, turns: Turns, session: Session) -> None:
        self._store = store
        self._turns = turns
        self._session = session
        self._player = Player()
        self.offset = session.first_offset

    async def join(self, end: int) -> Joined:
        """The screen as it is at ``end``, or where the chunk ends that goes over it; go on from there."""
        session = self._session
        begin = max(session.first_offset, end - WINDOW_BYTES)
        screens = Screens(is_start=begin == 0)
        last_us, exit_ = await self._feed(screens, begin, end)
        if not screens.is_known and (head := await self._head(begin)) is not None:
            screens = head
            last_us, exit_ = await self._feed(screens, begin, end)
        screen = screens.screen(session.cols or DEFAULT_COLS, session.rows or DEFAULT_ROWS)
        return Joined(screen, last_us, exit_)

    async def read(self) -> list[Chunk]:
        """What is stored behind what was read; some of it."""
        async with self._turns.slice():
            return await self._store.chunks(self._session.number, self.offset, READ_BYTES)

    async def actions(self, chunk: Chunk) -> AsyncIterator[Action]:
        """What is new in a chunk, which may have been merged with what was read."""
        _, records = records_from(chunk.records, chunk.first_offset, self.offset)
        actions = self._player.feed(records)
        while True:
            async with self._turns.slice():
                action = next(actions, None)
            if action is None:
                break
            yield action
        self.offset = chunk.end_offset

    async def _feed(self, screens: Screens, begin: int, end: int) -> tuple[int, Exit | None]:
        """Feed all that there is from ``begin`` on; the time, and the exit if it is there."""
        self._player, self.offset = Player(), begin
        last_us, exit_ = 0, None
        # Of a session that grows faster than it is read, the end is nowhere.
        while self.offset < end and (chunks := await self.read()):
            for chunk in chunks:
                if self.offset >= end:
                    break
                async for action in self.actions(chunk):
                    async with self._turns.slice():
                        screens.feed(action)
                    if isinstance(action, Exit):
                        exit_ = action
                last_us = max(last_us, chunk.last_time_us)
        return last_us, exit_

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
