"""Entries in the order of their numbers, a slice in a turn of the loop; and pages of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from ptyshipper.backend.entries.derive import EVERYTHING, Derivation, Wanted
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.seek import begin_at, last_chunk
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.backend.store.base import Store

READ_BYTES = 262_144
MAX_SLICE_ENTRIES = 1_000
PAGE_BYTES = 1 << 20
"""A page has no more text, but for its first line."""
PAGE_WITHIN_S = 0.5
"""A page is what was found by then: a filter that nothing fits is not to read 10 GB for one answer."""


class Span(NamedTuple):
    """Entries by their numbers: from ``begin`` to before ``end``; None: as far as there are any."""

    begin: int
    end: int | None = None


class Page(NamedTuple):
    """Entries in the order of their numbers: those of ``begin`` to before ``end`` that were wanted.

    ``is_last``: nothing more that is wanted is stored behind it. ``unfinished`` are the lines that are open
    then.
    """

    entries: list[Entry]
    unfinished: list[Entry]
    begin: int
    end: int
    is_last: bool


class Scan:
    """The entries of a session from a number on, as far as it is stored: ``slices``."""

    def __init__(
        self, store: Store, turns: Turns, session: Session, derivation: Derivation, offset: int
    ) -> None:
        self._store = store
        self._turns = turns
        self._session = session
        self.derivation = derivation
        self.offset = offset

    @property
    def number(self) -> int:
        """Of the next entry to be looked at."""
        return max(self.derivation.number, self.derivation.wanted.from_number)

    def unfinished(self) -> list[Entry]:
        """The lines that are open there."""
        return self.derivation.unfinished()

    async def slices(self) -> AsyncGenerator[list[Entry], None]:
        """What each turn of the loop finds, which may be nothing. It ends where nothing more is stored;
        called again, it goes on there."""
        while True:
            async with self._turns.slice():
                chunks = await self._store.chunks(self._session.number, self.offset, READ_BYTES)
            if not chunks:
                return
            for chunk in chunks:
                async for found in self.feed(chunk):
                    yield found

    async def feed(self, chunk: Chunk) -> AsyncIterator[list[Entry]]:
        """The same of a chunk that follows what was read."""
        entries = self.derivation.feed(chunk)
        clock, is_done = asyncio.get_running_loop().time, False
        while not is_done:
            found = list[Entry]()
            async with self._turns.slice() as until_s:
                for entry in entries:
                    if entry is not None:
                        found.append(entry)
                    if len(found) >= MAX_SLICE_ENTRIES or clock() >= until_s:
                        break
                else:
                    is_done = True
            yield found
        self.offset = self.derivation.offset


class Reader:
    """Reads entries of sessions from a store."""

    def __init__(self, store: Store, turns: Turns) -> None:
        self._store = store
        self._turns = turns

    async def scan(self, session: Session, number: int, wanted: Wanted = EVERYTHING) -> Scan:
        """What is wanted from ``number`` on."""
        derivation, offset = await begin_at(self._store, session, number, wanted)
        return Scan(self._store, self._turns, session, derivation, offset)

    async def page_from(
        self,
        session: Session,
        span: Span,
        limit: int,
        wanted: Wanted = EVERYTHING,
        within_s: float = PAGE_WITHIN_S,
    ) -> Page:
        """The first ``limit`` entries of ``span``, or fewer, with at least one if there is any soon."""
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + within_s
        entries, size, end = list[Entry](), 0, span.end
        scan = await self.scan(session, span.begin, wanted)
        async for found in scan.slices():
            for entry in found:
                assert entry.number is not None
                if end is not None and entry.number >= end:
                    return Page(entries, [], span.begin, end, True)
                size += len(entry.text)
                if len(entries) >= limit or (entries and size > PAGE_BYTES):
                    return Page(entries, [], span.begin, entry.number, False)
                entries.append(entry)
            if end is not None and scan.number >= end:
                return Page(entries, [], span.begin, end, True)
            if clock() >= deadline_s and scan.number > span.begin:
                return Page(entries, [], span.begin, scan.number, False)
        unfinished = scan.unfinished() if end is None else []
        return Page(entries, unfinished, span.begin, scan.number, True)

    async def page_before(
        self,
        session: Session,
        span: Span,
        limit: int,
        wanted: Wanted = EVERYTHING,
        within_s: float = PAGE_WITHIN_S,
    ) -> Page:
        """The last ``limit`` entries of ``span``, or fewer; without an end, those at the end of what is
        stored. Backwards by chunks, so that no more is read than is told."""
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + within_s
        is_tail, is_full = span.end is None, False
        begin = end = session.entries if span.end is None else span.end
        entries, unfinished = list[Entry](), list[Entry]()
        while is_tail or (begin > span.begin and not is_full and clock() < deadline_s):
            missing, until = limit - len(entries), begin
            begin = await self._earlier(session, span, until, missing, wanted)
            scan = await self.scan(session, begin, wanted)
            part = deque[Entry](maxlen=missing)
            async for found in scan.slices():
                part.extend(e for e in found if is_tail or (e.number or 0) < until)
                # Of a session that grows faster than it is read, the end is nowhere.
                if clock() >= deadline_s if is_tail else scan.number >= until:
                    break
            if is_tail:
                is_tail, end, unfinished = False, scan.number, scan.unfinished()
            whole = [*part, *entries]
            entries = _last_of(whole, PAGE_BYTES)
            is_full = len(entries) == limit or len(entries) < len(whole)
        if is_full:
            begin = entries[0].number or 0
        return Page(entries, unfinished, begin, end, span.end is None)

    async def _earlier(
        self, session: Session, span: Span, before: int, missing: int, wanted: Wanted
    ) -> int:
        """Where to begin so that something before ``before`` is read, not much more than ``missing``."""
        chunk = await last_chunk(self._store, session, lambda c: c.first_entry < before)
        begin = span.begin if chunk is None else min(chunk.first_entry, before - 1)
        is_all = wanted.stream is None and wanted.needle is None
        return max(span.begin, begin, before - missing if is_all else 0)


def _last_of(entries: list[Entry], max_bytes: int) -> list[Entry]:
    """The last of them, as many as have so much text; at least one."""
    size = 0
    for at in range(len(entries) - 1, -1, -1):
        size += len(entries[at].text)
        if size > max_bytes and at < len(entries) - 1:
            return entries[at + 1 :]
    return entries
