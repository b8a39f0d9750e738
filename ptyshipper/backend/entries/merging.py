"""The lines of several sessions in the order of their ids: the order in which they became readable.

A reader has seen everything up to an id. What a store lets one read by now, the *horizon*, is looked up
before the sessions are: an entry beyond it may have one before it, in a session that was read already, and
waits for the next round.

A round looks at the sessions that are known to have changed; where that is not known, at all of them.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from ptyshipper.backend.entries.derive import EVERYTHING, Wanted
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.reading import Reader, Scan, Span
from ptyshipper.backend.entries.seek import number_by_id
from ptyshipper.backend.fanout import Changed
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Query, Store

PORTION = 500
"""So many lines are told at a time."""
LISTED = 50
"""So many sessions are looked up in a turn of the loop."""
HELD = 64
"""Of so many sessions what was read and not told yet is kept, of others it is read again when it is their
turn: an app may have any number of sessions."""

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_STREAMS = {"stdout": "stdout", "stderr": "stderr", "tty": "stdout", None: "stderr"}
"""Where what is told of a session goes where there are only two streams: a terminal to the first, and a
gap, which no stream has, to the second."""


class Found(NamedTuple):
    """An entry, and whose it is."""

    session: Session
    entry: Entry


class Told(NamedTuple):
    """A line as it is told where there are only lines: an entry that is one, or a gap in words."""

    session: Session
    id: int
    time_us: int
    stream: str
    text: str


def told(session: Session, entry: Entry) -> Told | None:
    """``entry`` as a line; None for other events than gaps. A terminal's colours are left out."""
    if entry.kind not in ("line", "gap"):
        return None
    assert entry.id is not None, "only what is complete is told"
    text = entry.text if entry.stream != "tty" else _COLOURS.sub("", entry.text)
    wall_us = session.description.started_at_us + entry.time_us
    return Told(session, entry.id, wall_us, _STREAMS[entry.stream], text)


class _Ahead:
    """A session that is read: what was read of it and not told yet."""

    def __init__(self, reader: Reader, session: Session, number: int, wanted: Wanted) -> None:
        self.session = session
        self.entries = list[Entry]()  # the next one is the last
        self._reader = reader
        self._number = number
        self._wanted = wanted
        self._scan: Scan | None = None
        self._slices: AsyncGenerator[list[Entry], None] | None = None

    async def next_id(self) -> int | None:
        """The id of the next entry; None where nothing more is stored by now."""
        while not self.entries:
            if self._scan is None:
                self._scan = await self._reader.scan(self.session, self._number, self._wanted)
            if self._slices is None:
                self._slices = self._scan.slices()
            found = await anext(self._slices, None)
            if found is None:
                self._slices = None
                return None
            self.entries = found[::-1]
        return self.entries[-1].id

    async def let_go(self) -> None:
        """Keep no more of it than where it goes on."""
        self._number = self.entries[-1].number or 0
        self.entries = []
        if self._slices is not None:
            await self._slices.aclose()
        self._scan = self._slices = None


class Merge:
    """The lines of the sessions that fit a query, from behind the id ``after`` on.

    ``after`` moves on with what is told.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        query: Query,
        after: int,
        wanted: Wanted = EVERYTHING,
    ) -> None:
        self._store = store
        self._reader = reader
        self._query = query
        self._wanted = wanted
        self.after = after
        self._read: dict[int, _Ahead] = {}

    async def portions(self, changed: Changed | None = None) -> AsyncIterator[list[Found]]:
        """All that is readable by now, in order; called again, it goes on there.

        Args:
            changed: of which sessions there is something new up to that horizon, since the last call
                began; None: any session may have changed.
        """
        horizon = await self._store.horizon() if changed is None else changed.horizon
        if horizon <= self.after:
            return
        round_ = _Round(horizon)
        async for session in self._sessions(changed):
            ahead = self._read.get(session.number)
            if ahead is None:
                number = await number_by_id(self._store, session, self.after)
                ahead = _Ahead(self._reader, session, number, self._wanted)
            ahead.session = session
            await round_.add(ahead)
        self._read = round_.sessions  # what did not change is found again by its id
        portion = list[Found]()
        while (found := await round_.next()) is not None:
            portion.append(found)
            if len(portion) >= PORTION:
                self.after = found.entry.id or 0
                yield portion
                portion = []
        if portion:
            self.after = portion[-1].entry.id or 0
            yield portion
        self.after = horizon

    async def _sessions(self, changed: Changed | None) -> AsyncIterator[Session]:
        if changed is None:
            async for session in _every(
                self._store, replace(self._query, changed_after=self.after)
            ):
                yield session
            return
        session_ids = list(changed.session_ids)
        for at in range(0, len(session_ids), LISTED):
            for session in await self._store.load_all(session_ids[at : at + LISTED]):
                if self._query.wants(session):
                    yield session
            await asyncio.sleep(0)


class _Round:
    """The sessions of which something is to be told, up to the horizon, and in which order."""

    def __init__(self, horizon: int) -> None:
        self.sessions = dict[int, _Ahead]()
        self._horizon = horizon
        self._waiting = list[tuple[int, int]]()
        self._held = set[int]()

    async def add(self, ahead: _Ahead) -> None:
        number, id = ahead.session.number, await ahead.next_id()
        self.sessions[number] = ahead
        self._held.discard(number)
        if id is None:
            return
        if id <= self._horizon:
            heapq.heappush(self._waiting, (id, number))
            if self._waiting[0][1] == number or len(self._held) < HELD:
                self._held.add(number)
                return
        await ahead.let_go()

    async def next(self) -> Found | None:
        """The next entry of all; None where nothing more is to be told."""
        while self._waiting:
            id, number = heapq.heappop(self._waiting)
            ahead = self.sessions[number]
            is_here = await ahead.next_id() == id
            entry = ahead.entries.pop() if is_here else None
            await self.add(ahead)
            if entry is not None:  # else retention has deleted it
                return Found(ahead.session, entry)
        return None


async def _every(store: Store, query: Query) -> AsyncIterator[Session]:
    """All sessions that fit, newest first."""
    before: int | None = None
    while found := await store.sessions(replace(query, limit=LISTED, before=before)):
        for session in found:
            yield session
        if len(found) < LISTED:
            return
        before = found[-1].number
        await asyncio.sleep(0)


async def newest(store: Store, reader: Reader, query: Query, count: int) -> tuple[list[Told], int]:
    """The last ``count`` lines, in order, and the id behind which everything is still to be told."""
    horizon = await store.horizon()
    latest = [(each.last_arrival, each.id) async for each in _every(store, query)]
    found = list[Told]()
    for last_arrival, session_id in sorted(latest, reverse=True):
        if last_arrival == 0 or (len(found) >= count and last_arrival < found[0].id):
            break  # nothing of it is newer than what there is
        session = await store.load(session_id)
        if session is None:
            continue
        page = await reader.page_before(session, Span(0), count)
        lines = (told(session, entry) for entry in page.entries if (entry.id or 0) <= horizon)
        found = sorted([*found, *(line for line in lines if line)], key=lambda line: line.id)
        found = found[-count:]
    return found, horizon
