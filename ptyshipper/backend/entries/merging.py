"""The lines of several sessions in the order of their ids: the order in which they became readable.

A reader has seen everything up to an id. What a store lets one read by now, the *horizon*, is looked up
before the sessions are: an entry beyond it may have one before it, in a session that was read already, and
waits for the next round.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.reading import Reader, Scan, Span
from ptyshipper.backend.entries.seek import number_by_id
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Query, Store

AT_A_TIME = 500
"""So many sessions, those that came last, are read together; and their lines are told in such portions."""

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_STREAMS = {"stdout": "stdout", "stderr": "stderr", "tty": "stdout", None: "stderr"}
"""Where what is told of a session goes where there are only two streams: a terminal to the first, and a
gap, which no stream has, to the second."""


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

    __slots__ = ("_slices", "entries", "is_at_end", "scan", "session")

    def __init__(self, session: Session, scan: Scan) -> None:
        self.session = session
        self.scan = scan
        self.entries = list[Entry]()  # the next one is the last
        self.is_at_end = False
        self._slices: AsyncIterator[list[Entry]] | None = None

    async def next_id(self) -> int | None:
        """The id of the next entry; None where nothing more is stored by now."""
        while not self.entries:
            if self._slices is None:
                self._slices = self.scan.slices()
            found = await anext(self._slices, None)
            if found is None:
                self._slices = None
                return None
            self.entries = found[::-1]
        return self.entries[-1].id


class Merge:
    """The lines of the sessions that fit a query, from behind the id ``after`` on.

    ``after`` moves on with what is told.
    """

    def __init__(self, store: Store, reader: Reader, query: Query, after: int) -> None:
        self._store = store
        self._reader = reader
        self._query = query
        self.after = after
        self._read: dict[int, _Ahead] = {}

    async def portions(self) -> AsyncIterator[list[Told]]:
        """All that is readable by now, in order; called again, it goes on there."""
        horizon = await self._store.horizon()
        if horizon <= self.after:
            return
        query = replace(self._query, limit=AT_A_TIME, changed_after=self.after)
        waiting = list[tuple[int, int]]()
        current = dict[int, _Ahead]()
        for session in await self._store.sessions(query):
            ahead = self._read.get(session.number)
            if ahead is None:
                number = await number_by_id(self._store, session, self.after)
                ahead = _Ahead(session, await self._reader.scan(session, number))
            ahead.session = session
            current[session.number] = ahead
            await _push(waiting, session.number, ahead, horizon)
        self._read = current  # what did not change is found again by its id
        portion = list[Told]()
        while waiting:
            _, number = heapq.heappop(waiting)
            ahead = current[number]
            entry = ahead.entries.pop()
            line = told(ahead.session, entry)
            if line is not None:
                portion.append(line)
            await _push(waiting, number, ahead, horizon)
            if len(portion) >= AT_A_TIME:
                self.after = portion[-1].id
                yield portion
                portion = []
        if portion:
            self.after = portion[-1].id
            yield portion
        self.after = horizon


async def _push(waiting: list[tuple[int, int]], number: int, ahead: _Ahead, horizon: int) -> None:
    id = await ahead.next_id()
    if id is not None and id <= horizon:
        heapq.heappush(waiting, (id, number))


async def newest(store: Store, reader: Reader, query: Query, count: int) -> tuple[list[Told], int]:
    """The last ``count`` lines, in order, and the id behind which everything is still to be told."""
    horizon = await store.horizon()
    sessions = await store.sessions(replace(query, limit=AT_A_TIME))
    found = list[Told]()
    for session in sorted(sessions, key=lambda each: -each.last_arrival):
        if len(found) >= count and session.last_arrival < found[0].id:
            break  # nothing of it is newer than what there is
        page = await reader.page_before(session, Span(0), count)
        lines = (told(session, entry) for entry in page.entries if (entry.id or 0) <= horizon)
        found = sorted([*found, *(line for line in lines if line)], key=lambda line: line.id)
        found = found[-count:]
    return found, horizon
