"""``GET /api/app/{appId}/histogram``: how much an app's sessions printed, over time.

A session that is shorter than a bucket is told of by what is known of it as a whole, so that of an app with
40,000 of them not all have to be looked into.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.histogram import Histogram
from ptyshipper.backend.entries.seek import last_chunk
from ptyshipper.backend.entries.timeline import MAX_AT_ONCE
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import MAX_INTEGER, MAX_WALL_US, Session
from ptyshipper.backend.store.base import Query, Sketch, Store
from ptyshipper.backend.viewers.answers import answer
from ptyshipper.backend.viewers.app_lines import APP_PATH, CHOSEN, query_of, too_many
from ptyshipper.backend.viewers.lines import BUCKETS, SKETCHES
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.schemas import HISTOGRAM, SINCE, UNTIL

LISTED = 50
"""So many sessions are looked up in a turn of the loop."""


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """The histogram of one app."""

    async def histogram(request: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(request, view, asked)
        return answer(await _histogram(store, turns, query, asked))

    return [
        reading(
            access,
            f"{APP_PATH}/histogram",
            "Bytes of records and entries of an app's sessions over time",
            histogram,
            {200: Answer("buckets of the same length, each up to the next", schema=HISTOGRAM)},
            (*CHOSEN, BUCKETS, SINCE, UNTIL),
        )
    ]


async def _histogram(
    store: Store, turns: Turns, query: Query, asked: dict[str, Any]
) -> dict[str, Any]:
    one, now_us = replace(query, limit=1), time.time_ns() // 1000
    first = await store.sessions_after(one, (-1, MAX_INTEGER))
    last = await store.sessions_before(one, (MAX_INTEGER, MAX_INTEGER))
    begin_us = first[0].description.started_at_us if first else 0
    end_us = 0
    if last:
        # Of one that runs it is a bound: nothing is later than now, but what a wrong clock says.
        end_us = last[0].until_us if last[0].exited else min(last[0].until_us, now_us)
    if asked["since"] is not None:
        begin_us = max(begin_us, asked["since"])
    if asked["until"] is not None:
        end_us = min(end_us, asked["until"])
    end_us = min(max(begin_us, end_us), MAX_WALL_US)
    begin_us = min(begin_us, end_us)
    buckets = asked["buckets"]
    sums = [[0, 0] for _ in range(buckets)]
    async for session in _sessions(store, query, begin_us, end_us):
        drawn = await _drawn(store, turns, session, begin_us, end_us, buckets)
        for at, (record_bytes, entries) in drawn.items():
            sums[at][0] += record_bytes
            sums[at][1] += entries
    return {
        "begin_us": begin_us,
        "end_us": end_us,
        "buckets": [
            {
                "begin_us": begin_us + (end_us - begin_us) * at // buckets,
                "bytes": record_bytes,
                "entries": entries,
            }
            for at, (record_bytes, entries) in enumerate(sums)
        ],
    }


async def _sessions(
    store: Store, query: Query, begin_us: int, end_us: int
) -> AsyncIterator[Session]:
    at_begin = await store.sessions_at(replace(query, limit=MAX_AT_ONCE + 1), begin_us)
    if len(at_begin) > MAX_AT_ONCE:
        raise too_many()
    for session in at_begin:
        yield session
    begun = (begin_us, MAX_INTEGER)
    while found := await store.sessions_after(replace(query, limit=LISTED), begun):
        for session in found:
            if session.description.started_at_us >= end_us:
                return
            yield session
        begun = (found[-1].description.started_at_us, found[-1].number)
        await asyncio.sleep(0)


async def _drawn(
    store: Store, turns: Turns, session: Session, begin_us: int, end_us: int, buckets: int
) -> dict[int, tuple[int, int]]:
    """By bucket, the bytes and entries of one session; buckets without any are left out."""
    started_us = session.description.started_at_us
    length_us = session.until_us - started_us
    is_short = length_us * buckets <= end_us - begin_us and session.first_offset == 0
    if is_short and begin_us <= started_us and session.until_us <= end_us:
        middle_us = started_us + length_us // 2 - begin_us
        at = min(middle_us * buckets // max(1, end_us - begin_us), buckets - 1)
        return {at: (session.next_offset, session.entries)}
    drawn = Histogram(begin_us - started_us, end_us - started_us, buckets)
    async for sketch in _sketches(store, turns, session, begin_us - started_us):
        if sketch.first_time_us >= end_us - started_us:
            break
        drawn.add(sketch)
    return {
        at: (bucket.record_bytes, bucket.entries)
        for at, bucket in enumerate(drawn.buckets())
        if bucket.record_bytes
    }


async def _sketches(
    store: Store, turns: Turns, session: Session, begin_us: int
) -> AsyncIterator[Sketch]:
    chunk = await last_chunk(store, session, lambda c: c.first_time_us < begin_us)
    offset = session.first_offset if chunk is None else chunk.first_offset
    while True:
        async with turns.slice():
            sketches = await store.outline(session.number, offset, SKETCHES)
        if not sketches:
            return
        for sketch in sketches:
            yield sketch
        offset = sketches[-1].end_offset
