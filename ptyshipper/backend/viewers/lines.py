"""``GET /api/sessions/{id}/lines`` and ``…/histogram``: a session's entries by pages, and how many when."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.entry import as_json
from ptyshipper.backend.entries.histogram import Histogram
from ptyshipper.backend.entries.reading import Page, Reader, Span
from ptyshipper.backend.entries.seek import first_number, last_chunk, number_by_time
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import MAX_WALL_US, Session
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import answer
from ptyshipper.backend.viewers.api import find
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import integer
from ptyshipper.backend.viewers.schemas import FROM, HISTOGRAM, ID, PAGE, SINCE, STREAM, UNTIL
from ptyshipper.wire.paths import SESSIONS_PATH

SKETCHES = 1_000
"""So many chunks are looked at in a turn of the loop: 2 ms."""

BUCKETS = integer("buckets", "how many", 1, 1_000, default=100)
_PAGE_PARAMETERS = (
    ID,
    integer("limit", "how many entries at most", 1, 1_000, default=500),
    integer("tail", "the last so many entries, up to `limit`", 1),
    integer("before", "the entries before this number", 0),
    integer("at", "from the first that was completed at this time (Unix, in us) or later", 0),
    FROM,
    STREAM,
    SINCE,
    UNTIL,
)
_PAGE = (
    "entries in the order of their numbers. `first` and `end`: the numbers of the first that is kept,"
    " and behind the last. `prev` (as `before`) and `next` (as `from`) continue; prev null: nothing that"
    " fits is before. `is_last`: nothing more that fits is stored by now. `unfinished`: the lines that are"
    " open then, without numbers. A page may hold fewer than there are, or none: as far as half a second"
    " went"
)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """Pages of entries, and the histogram."""
    reader = Reader(store, turns)

    async def page(request: Request, view: View, asked: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        first = await first_number(store, session)
        span = await span_of(store, session, first, asked)
        limit, wanted = asked["limit"], Wanted(stream=asked["stream"])
        if asked["tail"] is not None:
            found = await reader.page_before(session, span, min(limit, asked["tail"]), wanted)
        elif asked["before"] is not None:
            end = min(asked["before"], session.entries if span.end is None else span.end)
            found = await reader.page_before(
                session, Span(span.begin, max(end, span.begin)), limit, wanted
            )
        else:
            begin = asked["from"] or 0
            if asked["at"] is not None:
                begin = await number_at_wall(store, session, asked["at"])
            found = await reader.page_from(
                session, Span(max(begin, span.begin), span.end), limit, wanted
            )
        return answer(_page(session, first, span, found))

    async def histogram(request: Request, view: View, asked: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        return answer(await _histogram(store, turns, session, asked))

    return [
        reading(
            access,
            SESSIONS_PATH + "/{id}/lines",
            "A page of a session's entries: lines and events. Of tail, before, at and from the first that"
            " is given counts",
            page,
            {200: Answer(_PAGE, schema=PAGE)},
            _PAGE_PARAMETERS,
        ),
        reading(
            access,
            SESSIONS_PATH + "/{id}/histogram",
            "Bytes of records and entries over time",
            histogram,
            {200: Answer("buckets of the same length, each up to the next", schema=HISTOGRAM)},
            (ID, BUCKETS, SINCE, UNTIL),
        ),
    ]


async def number_at_wall(store: Store, session: Session, wall_us: int) -> int:
    """The number of the first entry completed at that Unix time or later."""
    return await number_by_time(store, session, wall_us - session.description.started_at_us)


async def span_of(store: Store, session: Session, first: int, asked: dict[str, Any]) -> Span:
    """What ``since`` and ``until`` leave of the entries from ``first`` on."""
    begin, end = first, None
    if asked["since"] is not None:
        begin = max(begin, await number_at_wall(store, session, asked["since"]))
    if asked["until"] is not None:
        end = max(begin, await number_at_wall(store, session, asked["until"]))
    return Span(begin, end)


def _page(session: Session, first: int, span: Span, found: Page) -> dict[str, Any]:
    started_at_us = session.description.started_at_us
    return {
        "entries": [as_json(entry, started_at_us) for entry in found.entries],
        "unfinished": [as_json(entry, started_at_us) for entry in found.unfinished],
        "first": first,
        "end": max(session.entries, found.end),
        "prev": found.begin if found.begin > span.begin else None,
        "next": found.end,
        "is_last": found.is_last,
    }


async def _histogram(
    store: Store, turns: Turns, session: Session, asked: dict[str, Any]
) -> dict[str, Any]:
    started_at_us = session.description.started_at_us
    first = await store.chunk_at(session.number, 0)
    last = await store.chunk_at(session.number, session.next_offset)
    begin_us = first.first_time_us if first else 0
    end_us = last.last_time_us + 1 if last else 0
    if asked["since"] is not None:
        begin_us = max(begin_us, asked["since"] - started_at_us)
    if asked["until"] is not None:
        end_us = min(end_us, asked["until"] - started_at_us)
    end_us = max(begin_us, end_us)
    drawn = Histogram(begin_us, end_us, asked["buckets"])
    chunk = await last_chunk(store, session, lambda c: c.first_time_us < begin_us)
    offset = session.first_offset if chunk is None else chunk.first_offset
    while True:
        async with turns.slice():
            sketches = await store.outline(session.number, offset, SKETCHES)
            for sketch in sketches:
                drawn.add(sketch)
        if not sketches or sketches[-1].first_time_us >= end_us:
            break
        offset = sketches[-1].end_offset

    def wall_us(time_us: int) -> int:
        return max(0, min(started_at_us + time_us, MAX_WALL_US))

    return {
        "begin_us": wall_us(begin_us),
        "end_us": wall_us(end_us),
        "buckets": [
            {
                "begin_us": wall_us(each.begin_us),
                "bytes": each.record_bytes,
                "entries": each.entries,
            }
            for each in drawn.buckets()
        ],
    }
