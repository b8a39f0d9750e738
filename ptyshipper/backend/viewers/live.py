"""``GET /api/sessions/{id}/lines/live``: a session's entries as server-sent events, while they come.

Events: ``entries`` (a list; its id is the number of the last, so that a browser which reconnects goes on
behind it), ``unfinished`` (the lines that are open, all of them, in place of those told before),
``state`` (the session, whenever its state has changed) and ``end`` (the session; nothing follows).
Nobody waits for a reader who is slow: what came meanwhile is read from the store.

Source: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.entry import Entry, as_json
from ptyshipper.backend.entries.reading import Reader, Scan
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout, Subscription
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.answers import json_bytes, streamed
from ptyshipper.backend.viewers.api import find
from ptyshipper.backend.viewers.openapi import Answer, Operation, Schema, reading
from ptyshipper.backend.viewers.parameters import integer
from ptyshipper.backend.viewers.schemas import ID, STREAM, an_object
from ptyshipper.wire.paths import SESSIONS_PATH

HEARTBEAT_S = 15.0
LOOK_EVERY_S = 5.0
"""A session that is cut off makes no commit: its viewers look for themselves."""
UNFINISHED_EVERY_S = 0.05
"""A progress bar may change with every commit; nobody sees it more often."""
RETRY_MS = 1_000


def events_of(*names: str) -> Schema:
    """The schema of server-sent events with these names."""
    return an_object(
        {
            "event": {"type": "string", "enum": list(names)},
            "data": {"type": "string"},
            "id": {"type": "string"},
            "retry": {"type": ["string", "integer"]},
        },
        but=["event", "data", "id", "retry"],
    )


def operations(store: Store, fanout: Fanout, access: Access, turns: Turns) -> list[Operation]:
    """The stream of one session."""
    reader = Reader(store, turns)

    async def live(request: Request, view: View, asked: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        begin = session.entries if asked["from"] is None else asked["from"]
        last = last_event_id(request)
        if last is not None:
            begin = last + 1
            if session.exited and begin >= session.entries:
                # To an EventSource the sign that there is no use in asking again.
                return Response(status_code=HTTPStatus.NO_CONTENT)
        following = Following(store, fanout, reader, session, begin, asked["stream"])
        return streamed(
            following.events(),
            "text/event-stream",
            {"x-accel-buffering": "no"},
            told=lambda message: event("error", {"error": message}),
        )

    return [
        reading(
            access,
            SESSIONS_PATH + "/{id}/lines/live",
            "A session's entries while they come. Last-Event-ID, the number of the last that was seen,"
            " counts before from",
            live,
            {
                200: Answer(
                    "events `entries`, `unfinished`, `state`, `end` and `error`",
                    "text/event-stream",
                    events_of("entries", "unfinished", "state", "end", "error"),
                ),
                204: Answer("the session has ended, and nothing is behind Last-Event-ID", None),
            },
            (
                ID,
                integer("from", "the number to begin with; else only what comes from now on", 0),
                STREAM,
            ),
        )
    ]


def event(name: str, data: Any, id: int | None = None) -> bytes:
    """A server-sent event; JSON in ASCII has no newline that could end it."""
    numbered = b"" if id is None else b"id: %d\n" % id
    return b"%bevent: %b\ndata: %b\n\n" % (numbered, name.encode(), json_bytes(data))


def last_event_id(request: Request) -> int | None:
    """What a browser that reconnects has seen last."""
    given = request.headers.get("last-event-id", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 18 else None


class Following:
    """One reader of one session, from ``begin`` on."""

    def __init__(
        self,
        store: Store,
        fanout: Fanout,
        reader: Reader,
        session: Session,
        begin: int,
        stream: str | None,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._reader = reader
        self._session = session
        self._begin = begin
        self._wanted = Wanted(stream=stream)
        self._state = ""
        self._unfinished: list[Entry] = []
        self._unfinished_due_s = 0.0

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Everything, from the first to the last; then, while the session goes on, what comes."""
        clock = asyncio.get_running_loop().time
        subscription = self._fanout.subscribe(self._session.id)
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            scan = await self._reader.scan(self._session, self._begin, self._wanted)
            said_s = clock()
            while not self._fanout.is_stopping:
                # The session first: what is committed in between is then read, or wakes.
                session = await self._store.load(self._session.id)
                if session is None:
                    return  # retention took the last of it
                is_news = False
                async for found in self._new(scan, subscription):
                    if found:
                        yield event("entries", self._told(found), found[-1].number)
                        is_news, said_s = True, clock()
                # A line that was told as unfinished may be complete now: not for a moment both.
                if clock() >= self._unfinished_due_s or (is_news and self._unfinished):
                    unfinished = scan.unfinished()
                    if unfinished != self._unfinished:
                        self._unfinished, said_s = unfinished, clock()
                        self._unfinished_due_s = said_s + UNFINISHED_EVERY_S
                        yield event("unfinished", self._told(unfinished))
                summary = session.summary(time.time_ns() // 1000)
                if session.exited:
                    yield event("end", summary)
                    return
                if summary["state"] != self._state:
                    self._state, said_s = summary["state"], clock()
                    yield event("state", summary)
                if clock() - said_s >= HEARTBEAT_S:
                    said_s = clock()
                    yield b":\n\n"
                due_s = self._unfinished_due_s - clock()
                await subscription.wait(due_s if 0 < due_s < LOOK_EVERY_S else LOOK_EVERY_S)
        finally:
            self._fanout.unsubscribe(self._session.id, subscription)

    @staticmethod
    async def _new(scan: Scan, subscription: Subscription) -> AsyncIterator[list[Entry]]:
        """All that is stored by now: from memory what follows what was read, the rest from the store."""
        while (chunk := subscription.take(scan.offset)) is not None:
            async for found in scan.feed(chunk):
                yield found
        async for found in scan.slices():
            yield found

    def _told(self, entries: list[Entry]) -> list[dict[str, Any]]:
        started_at_us = self._session.description.started_at_us
        return [as_json(entry, started_at_us) for entry in entries]
