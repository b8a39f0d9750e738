"""``GET /api/sessions/live``: the list of sessions as server-sent events, as it changes.

Events: ``sessions``: those of the list that are new or have changed since the event before, and, where it
is another, the order of all of it. At most ``1 / EVERY_S`` a second, and each costs by what changed.
Sessions that change because time goes by (cut off, quiet) are looked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.fanout import Changed, Fanout
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.backend.viewers.answers import streamed
from ptyshipper.backend.viewers.api import FILTERS, listed, query_of
from ptyshipper.backend.viewers.live import HEARTBEAT_S, LOOK_EVERY_S, RETRY_MS, event, events_of
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.wire.paths import SESSIONS_PATH

EVERY_S = 0.25
LOADED = 50
"""So many sessions that changed are looked at; where it were more, the list is read anew."""
MAX_OTHERS = 10_000
"""So many sessions that are none of the list's are remembered, so as not to look at them again."""


def operations(store: Store, fanout: Fanout, access: Access) -> list[Operation]:
    """The list of sessions, live."""

    async def live(_: Request, view: View, asked: dict[str, Any]) -> Response:
        return streamed(
            _Watching(store, fanout, query_of(view, asked)).events(),
            "text/event-stream",
            {"x-accel-buffering": "no"},
            told=lambda message: event("error", {"error": message}),
        )

    return [
        reading(
            access,
            f"{SESSIONS_PATH}/live",
            "The list of sessions while it changes",
            live,
            {
                200: Answer(
                    "events `sessions` and `error`. Of the data, `sessions` are those that changed, as in"
                    " the list; `ids` all that are in it, in order, or null: as before; `next`, as there",
                    "text/event-stream",
                    events_of("sessions", "error"),
                )
            },
            FILTERS,
        )
    ]


class _Watching:
    """One reader of one list."""

    def __init__(self, store: Store, fanout: Fanout, query: Query | None) -> None:
        self._store = store
        self._fanout = fanout
        self._query = query
        self._ids: list[bytes] = []
        self._summaries: dict[bytes, dict[str, Any]] = {}
        self._next: int | None = None
        self._others = set[bytes]()

    async def events(self) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        subscription = self._fanout.subscribe_all()
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            changed: Changed | None = None
            said_s = list_due_s = clock()
            is_first = True
            while not self._fanout.is_stopping:
                if changed is None or clock() >= list_due_s or await self._concerns(changed):
                    told = await self._list()
                    list_due_s = clock() + LOOK_EVERY_S
                else:
                    told = await self._look(changed)
                if told["sessions"] or told["ids"] is not None or is_first:
                    is_first, said_s = False, clock()
                    yield event("sessions", told)
                elif clock() - said_s >= HEARTBEAT_S:
                    said_s = clock()
                    yield b":\n\n"
                await asyncio.sleep(EVERY_S)
                await subscription.wait(max(0.0, list_due_s - clock()))
                changed = subscription.take()
        finally:
            self._fanout.unsubscribe_all(subscription)

    async def _list(self) -> dict[str, Any]:
        """All of it, read anew."""
        self._others.clear()
        if self._query is None:
            return self._told([], [], None)
        sessions, next_ = await listed(self._store, replace(self._query, now_us=_now_us()))
        return self._told(sessions, [session.id for session in sessions], next_)

    async def _concerns(self, changed: Changed) -> bool:
        """Whether what changed may be in the list now, and was not, or too much has changed."""
        query = self._query
        if query is None:
            return False
        unknown = changed.session_ids.difference(self._summaries, self._others)
        if len(unknown) > LOADED:
            return True
        for session in await self._store.load_all(list(unknown)) if unknown else ():
            if query.fits(session, _now_us()):
                return True
            if not query.wants(session) and len(self._others) < MAX_OTHERS:
                self._others.add(session.id)
        return False

    async def _look(self, changed: Changed) -> dict[str, Any]:
        """Those of the list that changed; all of it, if one is not in it any more."""
        known = [each for each in changed.session_ids if each in self._summaries]
        sessions = list[Session]()
        for at in range(0, len(known), LOADED):
            sessions += await self._store.load_all(known[at : at + LOADED])
        if self._query is not None and not all(self._query.fits(s, _now_us()) for s in sessions):
            return await self._list()
        return self._told(sessions, self._ids, self._next)

    def _told(
        self, sessions: Iterable[Session], ids: list[bytes], next_: int | None
    ) -> dict[str, Any]:
        now_us, news = _now_us(), list[dict[str, Any]]()
        for session in sessions:
            summary = session.summary(now_us)
            if self._summaries.get(session.id) != summary:
                self._summaries[session.id] = summary
                news.append(summary)
        is_other = ids != self._ids
        if is_other:
            self._ids = ids
            self._summaries = {id: self._summaries[id] for id in ids}
        self._next = next_
        return {
            "sessions": news,
            "ids": [id.hex() for id in ids] if is_other else None,
            "next": next_,
        }


def _now_us() -> int:
    return time.time_ns() // 1000
