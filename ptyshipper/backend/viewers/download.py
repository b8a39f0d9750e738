"""``GET /api/sessions/{id}/download``: a session to take away, written while it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.reading import READ_BYTES
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import streamed
from ptyshipper.backend.viewers.api import find
from ptyshipper.backend.viewers.joining import Joined, TerminalReader
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import choice, integer
from ptyshipper.backend.viewers.replay import Output, Resize
from ptyshipper.backend.viewers.schemas import ID
from ptyshipper.printed.cast import MAX_SIDE
from ptyshipper.printed.exports import FORMATS, Export
from ptyshipper.records import Kind, Record, resized, walk
from ptyshipper.wire.paths import SESSIONS_PATH

NAME_DIGITS = 12
CASTS = ("cast", "cast2")

_FORMAT = choice(
    "format",
    "`cast`: asciicast version 3, `cast2`: version 2, `text`: lines without colours, `jsonl`: a JSON object"
    " a line",
    tuple(FORMATS),
)._replace(is_required=True)


_LAST = integer(
    "last",
    "only what was stored behind all but so many bytes; of a cast, behind the screen as it was by then",
    1,
)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """The downloads of one session."""

    async def download(request: Request, view: View, asked: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        form = FORMATS[asked["format"]]
        name = f"ptyshipper-{session.id.hex()[:NAME_DIGITS]}.{form.suffix}"
        written = form.make(session.summary(time.time_ns() // 1000))
        begin = await _begin(store, session, asked["last"])
        # What a terminal showed is for whoever shows a terminal.
        is_joined = begin > session.first_offset and asked["format"] in CASTS
        reader = TerminalReader(store, turns, session) if is_joined else None
        return streamed(
            _parts(store, turns, session, written, begin, reader),
            form.media_type,
            {"content-disposition": f'attachment; filename="{name}"'},
        )

    answer = Answer(
        "the session as far as it is stored; "
        + ", ".join(f"{n}: {f.media_type}" for n, f in FORMATS.items()),
        "*/*",
        headers=("content-disposition",),
    )
    return [
        reading(
            access,
            SESSIONS_PATH + "/{id}/download",
            "A session to take away",
            download,
            {200: answer},
            (ID, _FORMAT, _LAST),
        )
    ]


async def _begin(store: Store, session: Session, last: int | None) -> int:
    """Where the chunk begins that has what is so many bytes from the end."""
    wanted = session.next_offset - last if last else 0
    if wanted <= session.first_offset:
        return session.first_offset
    chunk = await store.chunk_at(session.number, wanted)
    return chunk.first_offset if chunk else session.first_offset


async def _parts(
    store: Store,
    turns: Turns,
    session: Session,
    form: Export,
    begin: int,
    reader: TerminalReader | None,
) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    yield form.header().encode()
    offset = begin
    if reader is not None:
        joined = await reader.join(begin)
        offset = reader.offset
        yield "".join(_screen(form, joined)).encode()
    while offset < session.next_offset:
        async with turns.slice():
            chunks = await store.chunks(session.number, offset, READ_BYTES)
        for chunk in chunks:
            parts, is_done = _written(form, chunk), False
            while not is_done:
                piece = list[str]()
                async with turns.slice() as until_s:
                    for part in parts:
                        piece.append(part)
                        if clock() >= until_s:
                            break
                    else:
                        is_done = True
                yield "".join(piece).encode()
        if not chunks:
            break
        offset = chunks[-1].end_offset
    yield form.finish().encode()


def _screen(form: Export, joined: Joined) -> Iterator[str]:
    """As records that bring it about."""
    screen, at_us = joined.screen, joined.last_us
    for action in (Resize(screen.cols, screen.rows), Output(screen.text), *screen.actions):
        if isinstance(action, Resize):
            size = resized(min(action.cols, MAX_SIDE), min(action.rows, MAX_SIDE))
            yield from form.feed(Record(Kind.RESIZED, at_us, size))
        elif isinstance(action, Output):
            yield from form.feed(Record(Kind.TTY, at_us, action.text.encode("utf-8", "replace")))


def _written(form: Export, chunk: Chunk) -> Iterator[str]:
    for kind, time_us, begin, end in walk(chunk.records):
        yield from form.feed(Record(kind, time_us, chunk.records[begin:end]))
