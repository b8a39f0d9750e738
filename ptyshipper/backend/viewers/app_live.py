"""``GET /api/app/{appId}/lines/live``: an app's entries as server-sent events, while they come.

Events: ``entries`` (a list; its id is that up to which everything was told, with which one goes on) and
``unfinished`` (the lines that are open, all of them, in place of those told before). Entries come as they
became readable, those of one event in the order of their times: a pod that was cut off delivers late what
is early, and its ``cursor`` says where it belongs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.entry import as_json
from ptyshipper.backend.entries.merging import Merge
from ptyshipper.backend.entries.reading import Reader, Span
from ptyshipper.backend.entries.timeline import Found, place_of
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Changed, Fanout
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.backend.viewers.answers import streamed
from ptyshipper.backend.viewers.app_lines import APP_PATH, CHOSEN, found_json, query_of
from ptyshipper.backend.viewers.live import HEARTBEAT_S, RETRY_MS, event, events_of, last_event_id
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import integer
from ptyshipper.backend.viewers.schemas import STREAM

UNFINISHED_EVERY_S = 0.2
"""Of an app's pods any may have a progress bar."""
MAX_UNFINISHED = 50
"""Of so many sessions the open lines are told, those that changed last."""


def operations(store: Store, fanout: Fanout, access: Access, turns: Turns) -> list[Operation]:
    """The stream of one app."""
    reader = Reader(store, turns)

    async def live(request: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(request, view, asked)
        last = last_event_id(request)
        after = asked["after"] if last is None else last
        following = _Following(store, fanout, reader, query, after, asked["stream"])
        return streamed(
            following.events(),
            "text/event-stream",
            {"x-accel-buffering": "no"},
            told=lambda message: event("error", {"error": message}),
        )

    names = ("entries", "unfinished", "error")
    return [
        reading(
            access,
            f"{APP_PATH}/lines/live",
            "The entries of an app's sessions while they come. Last-Event-ID, the id of the last event that"
            " was seen, counts before after",
            live,
            {
                200: Answer(
                    "events `entries`, `unfinished` and `error`",
                    "text/event-stream",
                    events_of(*names),
                )
            },
            (
                *CHOSEN,
                integer("after", "everything behind this id; else only what comes from now on", 0),
                STREAM,
            ),
        )
    ]


class _Following:
    """One reader of one app, from behind the id ``after`` on; None: from now on."""

    def __init__(
        self,
        store: Store,
        fanout: Fanout,
        reader: Reader,
        query: Query,
        after: int | None,
        stream: str | None,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._reader = reader
        self._query = query
        self._after = after
        self._wanted = Wanted(stream=stream)
        self._open: dict[bytes, list[dict[str, Any]]] = {}

    async def events(self) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        app_id = self._query.app_id
        assert app_id is not None
        subscription = self._fanout.subscribe_app(app_id)
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            after = await self._store.horizon() if self._after is None else self._after
            merge = Merge(self._store, self._reader, self._query, after, self._wanted)
            changed: Changed | None = None
            to_look_at: set[bytes] | None = None  # whose open lines may be others; None: any
            said_s, look_s, is_first = clock(), clock(), True
            while not self._fanout.is_stopping:
                async for portion in merge.portions(changed):
                    yield event("entries", _told(portion), merge.after)
                    said_s, look_s = clock(), clock()
                if changed is None:
                    to_look_at = None
                elif to_look_at is not None:
                    to_look_at |= changed.session_ids
                if clock() >= look_s and (to_look_at is None or to_look_at):
                    look_s = clock() + UNFINISHED_EVERY_S
                    if await self._look(to_look_at) or is_first:
                        yield event("unfinished", [e for each in self._open.values() for e in each])
                        said_s = clock()
                    to_look_at, is_first = set(), False
                if clock() - said_s >= HEARTBEAT_S:
                    said_s = clock()
                    yield b":\n\n"
                wait_s = max(0.0, look_s - clock()) if to_look_at else HEARTBEAT_S
                if await subscription.wait(wait_s):
                    changed = subscription.take()
                elif to_look_at:
                    changed = Changed(frozenset(), merge.after)
                else:
                    changed = None  # should it not have been told: it looks at everything
        finally:
            self._fanout.unsubscribe_app(app_id, subscription)

    async def _look(self, session_ids: Iterable[bytes] | None) -> bool:
        """Read the open lines of these sessions, or of the newest that run; whether they are others."""
        before = self._open
        if session_ids is None:
            query = replace(self._query, limit=MAX_UNFINISHED)
            sessions = await self._store.sessions(query)
            found = dict[bytes, list[dict[str, Any]]]()
        else:
            listed = list(session_ids)[-MAX_UNFINISHED:]
            sessions = [s for s in await self._store.load_all(listed) if self._query.wants(s)]
            found = {id: lines for id, lines in before.items() if id not in listed}
        for session in sessions:
            lines = await self._lines(session)
            if lines:
                found[session.id] = lines
        while len(found) > MAX_UNFINISHED:
            del found[next(iter(found))]
        self._open = found
        return found != before

    async def _lines(self, session: Session) -> list[dict[str, Any]]:
        if session.open_lines == NO_LINES or session.exited:
            return []
        page = await self._reader.page_before(session, Span(0), 1, self._wanted)
        about = session.description
        own = {"session": session.id.hex(), "pod": about.hostname, "cursor": None}
        return [{**as_json(entry, about.started_at_us), **own} for entry in page.unfinished]


def _told(portion: Iterable[tuple[Session, Any]]) -> list[dict[str, Any]]:
    found = [
        Found(session, entry, place_of(session, entry.completed_us, entry.number or 0))
        for session, entry in portion
    ]
    return [found_json(each) for each in sorted(found, key=lambda each: each.place)]
