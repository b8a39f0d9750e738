"""The entries of several sessions in the order of their times, from any place on, both ways.

A place lies between two entries, by the time at which they were completed, their session's number, and
their own: whoever reads up to it and whoever reads from it share nothing and miss nothing. Of what is
committed later nothing is told here (the *horizon*, see ``merging``): it may belong before a place that
was passed by, so it is for who follows the order of the ids.

Sessions are looked up by the times that they have to tell of, and opened when it is their turn; of all
others nothing is read. Times within a session rise, as its clock does; where a hostile shipper's do not,
its entries stay in their order, and no other session's suffer.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import NamedTuple

from ptyshipper.backend.entries.derive import EVERYTHING, Wanted
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.reading import PAGE_BYTES, PAGE_WITHIN_S, Reader, Span
from ptyshipper.backend.entries.seek import first_number, last_chunk, number_by_id, number_by_time
from ptyshipper.backend.session import MAX_INTEGER, Session
from ptyshipper.backend.store.base import Query, Store

MAX_AT_ONCE = 1_000
"""So many sessions may have something to tell of one time: all are opened before an entry is told."""
LISTED = 20
"""So many sessions are looked up at a time that may never get their turn."""
STEP_S = 0.05
"""What is read of one session before another has its turn."""
HELD_BYTES = 8 << 20
"""What was read of all sessions and not told yet; what is more is read again when it is its turn."""
_LEAST_STEP = 16
_HEXADECIMAL = "[0-9a-f]{1,16}"
PATTERN = rf"{_HEXADECIMAL}\.{_HEXADECIMAL}\.{_HEXADECIMAL}"


class Place(NamedTuple):
    """Before the entry ``number`` of the session with the number ``session``, which is completed at
    ``time_us`` (Unix time), and behind everything that comes before that."""

    time_us: int
    session: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.time_us:x}.{self.session:x}.{self.number:x}"

    @classmethod
    def read(cls, text: str) -> Place:
        """What ``str`` made of one. Raises ValueError."""
        if not re.fullmatch(PATTERN, text, re.ASCII):
            raise ValueError("must be a cursor that an answer had")
        return cls._make(min(int(part, 16), MAX_INTEGER) for part in text.split("."))


START = Place(0)
END = Place(MAX_INTEGER, MAX_INTEGER, MAX_INTEGER)


def place_of(session: Session, completed_us: int, number: int) -> Place:
    """Before an entry of the session."""
    wall_us = min(session.description.started_at_us + completed_us, MAX_INTEGER)
    return Place(wall_us, session.number, number)


class Found(NamedTuple):
    """An entry, whose it is, and the place before it."""

    session: Session
    entry: Entry
    place: Place

    @property
    def behind(self) -> Place:
        return self.place._replace(number=self.place.number + 1)


class Stretch(NamedTuple):
    """Entries in order: those between two places that were wanted. ``is_all``: that way there is no more by
    the horizon ``horizon``, which is an id."""

    entries: list[Found]
    begin: Place
    end: Place
    is_all: bool
    horizon: int


class TooManySessions(Exception):
    """More than ``MAX_AT_ONCE`` have something to tell of one time."""


class _Lane:
    """A session that is read in one direction: what was read of it, and where it goes on."""

    def __init__(self, walk: Walk, session: Session, time_us: int) -> None:
        self.session = session
        self.time_us = time_us
        self.number = -1  # of the next entry; backwards of the last one that was told
        self.entries = list[Entry]()  # the next one is the last
        self._walk = walk
        self._first = 0
        self._is_read = False

    @property
    def place(self) -> Place:
        """Where the walk goes on, if this lane is next."""
        number = self.number
        if self.entries:
            number = (self.entries[-1].number or 0) + self._walk.is_backwards
        return Place(self.time_us, self.session.number, number)

    @property
    def is_over(self) -> bool:
        return self._is_read and not self.entries

    @property
    def held_bytes(self) -> int:
        return sum(len(entry.text) for entry in self.entries)

    async def step(self, limit: int) -> None:
        """Read on: entries come, or the time of the next is known better, or it is over."""
        walk, session = self._walk, self.session
        reader = walk.reader
        await self.seek()
        if walk.is_backwards:
            span = Span(self._first, self.number)
            page = await reader.page_before(session, span, limit, walk.wanted, STEP_S)
            self.entries, self.number = page.entries, page.begin
            self._is_read = self.number <= self._first
        else:
            page = await reader.page_from(session, Span(self.number), limit, walk.wanted, STEP_S)
            self.entries = [e for e in page.entries if (e.id or 0) <= walk.horizon][::-1]
            self.number = page.end
            self._is_read = page.is_last or len(self.entries) < len(page.entries)
        if self.entries:
            self._move(self.entries[-1].completed_us)
        elif not self._is_read:
            await self._move_to_chunk()

    def pop(self) -> Found:
        entry = self.entries.pop()
        found = Found(
            self.session, entry, Place(self.time_us, self.session.number, entry.number or 0)
        )
        if self.entries:
            self._move(self.entries[-1].completed_us)
        return found

    def let_go(self) -> None:
        """Keep no more of it than where it goes on."""
        self.number = self.place.number
        self.entries = []
        self._is_read = False

    def _move(self, completed_us: int) -> None:
        wall_us = min(self.session.description.started_at_us + completed_us, MAX_INTEGER)
        self.time_us = (min if self._walk.is_backwards else max)(self.time_us, wall_us)

    async def _move_to_chunk(self) -> None:
        """Nothing was found as yet: what is still to come is not beyond the times of its chunk."""
        last = self.number - self._walk.is_backwards
        chunk = await last_chunk(self._walk.store, self.session, lambda c: c.first_entry <= last)
        if chunk is not None:
            self._move(chunk.last_time_us if self._walk.is_backwards else chunk.first_time_us)

    async def seek(self) -> None:
        """Know the number at the place where the walk begins."""
        if self.number < 0:
            self._first = await first_number(self._walk.store, self.session)
            self.number = max(self._first, await self._begin())

    async def _begin(self) -> int:
        walk, session = self._walk, self.session
        place, own = walk.begin, session.number
        if own == place.session:
            number = min(place.number, session.entries)
        else:
            at_us = place.time_us - session.description.started_at_us + (own < place.session)
            if place.time_us >= session.until_us:
                number = session.entries
            else:
                number = await number_by_time(walk.store, session, at_us) if at_us > 0 else 0
        if walk.is_backwards and session.last_arrival > walk.horizon:
            number = min(number, await number_by_id(walk.store, session, walk.horizon))
        return number


class Walk:
    """From a place on, forwards or backwards, through the sessions that fit a query."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        query: Query,
        begin: Place,
        horizon: int,
        wanted: Wanted = EVERYTHING,
        *,
        is_backwards: bool = False,
    ) -> None:
        self.store = store
        self.reader = reader
        self.begin = begin
        self.horizon = horizon
        self.wanted = wanted
        self.is_backwards = is_backwards
        self.opened = set[int]()
        self._query = query
        self._waiting = list[tuple[int, int, _Lane | None]]()
        self._listed = list[Session]()  # the next one is the last
        self._listed_to = (begin.time_us, MAX_INTEGER)
        self._held_bytes = 0

    async def entries(self, at_a_time: int) -> AsyncGenerator[Found | None, None]:
        """In order, or in the opposite one; None now and then, when a caller may stop.

        Raises:
            TooManySessions: the query fits too many.
        """
        for session in await self.store.sessions_at(
            replace(self._query, limit=MAX_AT_ONCE + 1), self.begin.time_us
        ):
            self._open(session)
        await self._list()
        while self._waiting:
            lane = heapq.heappop(self._waiting)[2]
            if lane is None:
                self._open(self._listed.pop())
                await self._list()
            elif not lane.entries:
                await lane.step(max(_LEAST_STEP, 2 * at_a_time // (1 + len(self._waiting))))
                self._held_bytes += lane.held_bytes
                if not lane.is_over:
                    self._wait(lane)
                yield None
            else:
                found = lane.pop()
                self._held_bytes -= len(found.entry.text)
                if not lane.is_over:
                    self._wait(lane)
                yield found

    async def place(self) -> Place | None:
        """How far it has come, for certain; None: it is over."""
        if not self._waiting:
            return None
        lane = self._waiting[0][2]
        if lane is not None:
            await lane.seek()
            return lane.place
        time_us = abs(self._waiting[0][0])
        return Place(time_us, MAX_INTEGER, 0) if self.is_backwards else Place(time_us)

    def _open(self, session: Session) -> None:
        if session.number in self.opened:
            return
        if len(self._waiting) >= MAX_AT_ONCE:
            raise TooManySessions
        self.opened.add(session.number)
        if self.is_backwards:
            time_us = min(self.begin.time_us, session.until_us)
        else:
            time_us = max(self.begin.time_us, session.description.started_at_us)
        self._wait(_Lane(self, session, time_us))

    def _wait(self, lane: _Lane) -> None:
        key = self._key(lane.time_us, lane.session.number)
        is_too_much = lane.entries and self._held_bytes > HELD_BYTES
        if is_too_much and self._waiting and self._waiting[0][:2] < key:
            self._held_bytes -= lane.held_bytes
            lane.let_go()
        heapq.heappush(self._waiting, (*key, lane))

    def _key(self, time_us: int, session: int) -> tuple[int, int]:
        return (-time_us, -session) if self.is_backwards else (time_us, session)

    async def _list(self) -> None:
        """Have the next session wait that has nothing to tell of the times before."""
        query = replace(self._query, limit=LISTED)
        while not self._listed:
            if self.is_backwards:
                found = await self.store.sessions_before(query, self._listed_to)
            else:
                found = await self.store.sessions_after(query, self._listed_to)
            if not found:
                return
            self._listed_to = (self._edge(found[-1]), found[-1].number)
            self._listed = [each for each in found if each.last_arrival][::-1]
            await asyncio.sleep(0)
        time_us = self._edge(self._listed[-1])
        # Before any entry of that time: it may have one itself.
        session = MAX_INTEGER if self.is_backwards else -1
        heapq.heappush(self._waiting, (*self._key(time_us, session), None))

    def _edge(self, session: Session) -> int:
        return session.until_us if self.is_backwards else session.description.started_at_us


class Timeline:
    """Pages of what sessions that fit a query have to tell, in the order of its times."""

    def __init__(self, store: Store, reader: Reader) -> None:
        self._store = store
        self._reader = reader

    async def forwards(
        self, query: Query, begin: Place, limit: int, wanted: Wanted = EVERYTHING
    ) -> Stretch:
        """The first ``limit`` entries from ``begin`` on, or fewer: what is found soon."""
        walk = await self.walk(query, begin, wanted)
        found, place = await _collect(walk, limit)
        end = place or (found[-1].behind if found else begin)
        return Stretch(found, begin, end, place is None, walk.horizon)

    async def backwards(
        self, query: Query, end: Place, limit: int, wanted: Wanted = EVERYTHING
    ) -> Stretch:
        """The last ``limit`` before ``end``."""
        while True:
            walk = await self.walk(query, end, wanted, is_backwards=True)
            found, place = await _collect(walk, limit)
            # What began to go on meanwhile, after a long silence, was perhaps in no place of the list.
            at_end = await self._store.sessions_at(
                replace(query, limit=MAX_AT_ONCE + 1), end.time_us
            )
            if all(each.number in walk.opened for each in at_end):
                break
        found.reverse()
        begin = place or (found[0].place if found else end)
        return Stretch(found, begin, end, place is None, walk.horizon)

    async def walk(
        self, query: Query, begin: Place, wanted: Wanted = EVERYTHING, *, is_backwards: bool = False
    ) -> Walk:
        """What is stored by now, from a place on."""
        horizon = await self._store.horizon()
        return Walk(
            self._store, self._reader, query, begin, horizon, wanted, is_backwards=is_backwards
        )


async def _collect(walk: Walk, limit: int) -> tuple[list[Found], Place | None]:
    """At most so many, and where to go on; None: there is no more."""
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + PAGE_WITHIN_S
    found, size, first_us = list[Found](), 0, None
    entries = walk.entries(limit)
    async for each in entries:
        if each is not None:
            found.append(each)
            size += len(each.entry.text)
            if len(found) < limit and size <= PAGE_BYTES:
                continue
            break
        if clock() < deadline_s or (place := await walk.place()) is None:
            continue
        first_us = place.time_us if first_us is None else first_us
        if found or place.time_us != first_us:
            break
    await entries.aclose()
    return found, await walk.place()
