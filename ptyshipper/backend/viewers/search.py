"""``GET /api/sessions/{id}/search``: a text looked for in all of a session, answered by JSON lines.

Lines are derived while they are looked at, a slice in a turn of the loop, so a search of any size holds up
nobody; it ends when its reader leaves, and when it has taken or found enough, with where to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.entry import as_json
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.entries.reading import Reader, Span
from ptyshipper.backend.entries.seek import first_number
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import json_bytes, streamed
from ptyshipper.backend.viewers.api import find
from ptyshipper.backend.viewers.lines import span_of
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import flag, integer, text
from ptyshipper.backend.viewers.schemas import FROM, ID, SINCE, STREAM, UNTIL
from ptyshipper.wire.paths import SESSIONS_PATH

PROGRESS_EVERY_S = 0.25
SEARCH_WITHIN_S = 60.0
MEDIA_TYPE = "application/x-ndjson"
TEXT = text(
    "q",
    "the text; colours and other escapes in a line are no part of it",
    1_000,
    least_characters=1,
    is_required=True,
)
CASE = flag("case", "whether upper and lower case differ")
LIMIT = integer("limit", "how many hits at most", 1, 10_000, default=1_000)

_FOUND = (
    "objects with one key: `hit` (an entry), `progress` (first, and now and then: `next`, `done_bytes`,"
    " `all_bytes`), and last `end`: `reason` is complete, hits or time, and `next`, as `from`, goes on from"
    " there; or `error`"
)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """The search of one session."""
    reader = Reader(store, turns)

    async def search(request: Request, view: View, asked: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        span = await span_of(store, session, await first_number(store, session), asked)
        span = span._replace(begin=max(span.begin, asked["from"] or 0))
        needle = Needle(asked["q"], is_case_sensitive=asked["case"])
        wanted = Wanted(stream=asked["stream"], needle=needle)
        found = _found(reader, session, span, wanted, asked["limit"])
        return streamed(found, MEDIA_TYPE, told=lambda message: line("error", message))

    return [
        reading(
            access,
            SESSIONS_PATH + "/{id}/search",
            "Entries that hold a text, all through the session",
            search,
            {200: Answer(_FOUND, MEDIA_TYPE, {"type": "string"})},
            (
                ID,
                TEXT,
                CASE,
                LIMIT,
                FROM,
                STREAM,
                SINCE,
                UNTIL,
            ),
        )
    ]


async def _found(
    reader: Reader, session: Session, span: Span, wanted: Wanted, limit: int
) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    deadline_s, progress_due_s = clock() + SEARCH_WITHIN_S, clock()
    started_at_us = session.description.started_at_us
    scan = await reader.scan(session, span.begin, wanted)
    hits, begin_offset = 0, scan.offset
    async for found in scan.slices():
        lines = list[bytes]()
        if clock() >= progress_due_s:
            progress_due_s = clock() + PROGRESS_EVERY_S
            done = {
                "next": scan.number,
                "done_bytes": scan.offset - begin_offset,
                "all_bytes": max(0, session.next_offset - begin_offset),
            }
            lines.append(line("progress", done))
        for entry in found:
            assert entry.number is not None
            if span.end is not None and entry.number >= span.end:
                break
            if hits == limit:
                yield b"".join([*lines, _end("hits", entry.number)])
                return
            hits += 1
            lines.append(line("hit", as_json(entry, started_at_us)))
        if span.end is not None and scan.number >= span.end:
            yield b"".join([*lines, _end("complete", span.end)])
            return
        if lines:
            yield b"".join(lines)
        if clock() >= deadline_s and scan.number > span.begin:
            yield _end("time", scan.number)
            return
    rest = scan.unfinished() if span.end is None else []
    lines = [line("hit", as_json(entry, started_at_us)) for entry in rest]
    yield b"".join([*lines, _end("complete", scan.number)])


def line(name: str, value: Any) -> bytes:
    """An object with one key, and a newline."""
    return json_bytes({name: value}) + b"\n"


def _end(reason: str, number: int) -> bytes:
    return line("end", {"reason": reason, "next": number})
