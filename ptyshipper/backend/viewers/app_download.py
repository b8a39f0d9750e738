"""``GET /api/app/{appId}/download``: an app's log to take away, merged by time, made while it is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.reading import Reader
from ptyshipper.backend.entries.timeline import START, Found, Place, Timeline, TooManySessions, Walk
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import MAX_WALL_US, rfc3339
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import streamed
from ptyshipper.backend.viewers.app_lines import APP_PATH, CHOSEN, found_json, query_of, too_many
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import choice
from ptyshipper.backend.viewers.schemas import SINCE, STREAM, UNTIL
from ptyshipper.printed.text import visible

AT_A_TIME = 500
PART_BYTES = 65_536


class Form(NamedTuple):
    """How an entry is written, how a file of them is called and what it is to a browser."""

    write: Callable[[Found], str]
    suffix: str
    media_type: str


def _as_text(found: Found) -> str:
    about, entry = found.session.description, found.entry
    at = rfc3339(max(0, min(about.started_at_us + entry.time_us, MAX_WALL_US)))
    shown = entry.text if entry.stream else f"--- {entry.text} ---"
    # The pod's name is its shipper's own word.
    return f"{at} {visible(about.hostname, colours=False)} {visible(shown, colours=False)}\n"


def _as_json(found: Found) -> str:
    return json.dumps(found_json(found), separators=(",", ":")) + "\n"


FORMS = {
    "text": Form(_as_text, "txt", "text/plain; charset=utf-8"),
    "jsonl": Form(_as_json, "jsonl", "application/jsonl"),
}

_FORMAT = choice(
    "format",
    "`text`: time, pod and the line without colours; `jsonl`: an entry a line, as `lines` has them",
    tuple(FORMS),
)._replace(is_required=True)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """The download of one app's log."""
    timeline = Timeline(store, Reader(store, turns))

    async def download(request: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(request, view, asked)
        form = FORMS[asked["format"]]
        begin = START if asked["since"] is None else Place(asked["since"])
        walk = await timeline.walk(query, begin, Wanted(stream=asked["stream"]))
        parts = _parts(walk, form.write, asked["until"])
        try:
            await anext(parts)  # too many sessions are told before there is an answer
        except TooManySessions:
            raise too_many() from None
        name = f"ptyshipper-app-{query.app_id}.{form.suffix}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return streamed(parts, form.media_type, headers)

    answer = Answer(
        "the app's entries as far as they are stored, in the order of their times",
        "*/*",
        headers=("content-disposition",),
    )
    return [
        reading(
            access,
            f"{APP_PATH}/download",
            "An app's log to take away",
            download,
            {200: answer},
            (*CHOSEN, _FORMAT, STREAM, SINCE, UNTIL),
        )
    ]


async def _parts(
    walk: Walk, write: Callable[[Found], str], until_us: int | None
) -> AsyncGenerator[bytes, None]:
    """The first part is empty, and comes when the sessions at the beginning are known.

    Raises:
        TooManySessions: as a first part, or in mid-stream, which then breaks off.
    """
    piece, size = list[str](), 0
    is_begun = False
    async with aclosing(walk.entries(AT_A_TIME)) as entries:
        async for found in entries:
            if not is_begun:
                is_begun = True
                yield b""
            if found is None:
                continue
            if until_us is not None and found.place.time_us >= until_us:
                break
            piece.append(write(found))
            size += len(piece[-1])
            if size >= PART_BYTES:
                yield "".join(piece).encode("utf-8", "replace")
                piece, size = [], 0
    if not is_begun:
        yield b""
    yield "".join(piece).encode("utf-8", "replace")
