"""``GET /api/app/{appId}/search``: a text looked for in all of an app's sessions, by their times.

As the search of one session, by JSON lines; where to go on is a cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.entries.reading import Reader
from ptyshipper.backend.entries.timeline import START, Place, Timeline, TooManySessions, Walk
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import streamed
from ptyshipper.backend.viewers.app_lines import (
    AFTER,
    APP_PATH,
    CHOSEN,
    found_json,
    query_of,
    too_many,
)
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.schemas import SINCE, STREAM, UNTIL
from ptyshipper.backend.viewers.search import (
    CASE,
    LIMIT,
    MEDIA_TYPE,
    PROGRESS_EVERY_S,
    SEARCH_WITHIN_S,
    TEXT,
    line,
)

AT_A_TIME = 500

_FOUND = (
    "objects with one key: `hit` (an entry), `progress` (now and then: `next`, and `time_us`, which is how"
    " far it has come), and last `end`: `reason` is complete, hits or time, and `next`, as `after`, goes on"
    " from there; or `error`"
)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """The search of one app."""
    timeline = Timeline(store, Reader(store, turns))

    async def search(request: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(request, view, asked)
        needle = Needle(asked["q"], is_case_sensitive=asked["case"])
        begin = START if asked["since"] is None else Place(asked["since"])
        if asked["after"] is not None:
            begin = max(begin, Place.read(asked["after"]))
        walk = await timeline.walk(query, begin, Wanted(stream=asked["stream"], needle=needle))
        found = _found(walk, asked["limit"], asked["until"])
        return streamed(found, MEDIA_TYPE, told=lambda message: line("error", message))

    return [
        reading(
            access,
            f"{APP_PATH}/search",
            "Entries that hold a text, all through an app's sessions",
            search,
            {200: Answer(_FOUND, MEDIA_TYPE, {"type": "string"})},
            (*CHOSEN, TEXT, CASE, LIMIT, AFTER, STREAM, SINCE, UNTIL),
        )
    ]


async def _found(walk: Walk, limit: int, until_us: int | None) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    deadline_s, progress_due_s = clock() + SEARCH_WITHIN_S, clock()
    hits, last = 0, walk.begin
    try:
        async with aclosing(walk.entries(AT_A_TIME)) as entries:
            async for found in entries:
                if found is not None:
                    if until_us is not None and found.place.time_us >= until_us:
                        yield _end("complete", Place(until_us))
                        return
                    if hits == limit:
                        yield _end("hits", found.place)
                        return
                    hits, last = hits + 1, found.behind
                    yield line("hit", found_json(found))
                    continue
                if clock() < progress_due_s:
                    continue
                place = await walk.place()
                if place is None:
                    continue
                if until_us is not None and place.time_us >= until_us:
                    yield _end("complete", Place(until_us))
                    return
                if clock() >= deadline_s and place > walk.begin:
                    yield _end("time", place)
                    return
                progress_due_s = clock() + PROGRESS_EVERY_S
                yield line("progress", {"next": str(place), "time_us": place.time_us})
    except TooManySessions:
        yield line("error", too_many().message)
        return
    yield _end("complete", last)


def _end(reason: str, place: Place) -> bytes:
    return line("end", {"reason": reason, "next": str(place)})
