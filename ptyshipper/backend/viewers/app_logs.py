"""``GET /api/app/{appId}/logs``: the lines of an app's sessions as AnvilOps' own API streams them.

Events: ``log`` (its id rises with every line, over all pods) and, once what was there is told,
``pastLogsSent``. Without Last-Event-ID the last ``PAST_LINES`` lines come first; with it everything behind
it, however much that is. A reader who is slow holds up nobody and misses nothing: all of it is read from
the store.

Source: AnvilOps 0.5, ``GET /api/app/{appId}/logs``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.merging import Merge, Told, newest, told
from ptyshipper.backend.entries.reading import Reader
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Changed, Fanout
from ptyshipper.backend.session import MAX_INTEGER, MAX_WALL_US, rfc3339
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.backend.viewers.answers import Refused, streamed
from ptyshipper.backend.viewers.live import (
    HEARTBEAT_S,
    RETRY_MS,
    event,
    events_of,
    last_event_id,
)
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import choice, integer

PAST_LINES = 500
_TYPES = ("RUNTIME", "BUILD")
_EVENTS = events_of("log", "pastLogsSent", "error")
_APP = integer("appId", "the app", 0, place="path")


def operations(store: Store, fanout: Fanout, access: Access, turns: Turns) -> list[Operation]:
    """The stream of one app."""
    reader = Reader(store, turns)

    async def logs(request: Request, view: View, asked: dict[str, Any]) -> Response:
        try:
            app_id = _APP.read(request.path_params["appId"])
        except ValueError:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such app") from None
        if view.app_id not in (None, app_id):
            raise Refused(HTTPStatus.FORBIDDEN, "that app is not for this reader")
        kind = None if asked["type"] is None else asked["type"].lower()
        query = Query(app_id=app_id, deployment_id=asked["deploymentId"], type=kind)
        return streamed(
            _events(store, fanout, reader, query, last_event_id(request)),
            "text/event-stream",
            {"x-accel-buffering": "no"},
            told=lambda message: event("error", {"error": message}),
        )

    return [
        reading(
            access,
            "/api/app/{appId}/logs",
            "The lines of an app's sessions, as AnvilOps streams them; Last-Event-ID goes on behind it",
            logs,
            {200: Answer("events `log`, `pastLogsSent` and `error`", "text/event-stream", _EVENTS)},
            (
                _APP,
                choice("type", "of sessions of this type", _TYPES),
                integer("deploymentId", "of this deployment", -MAX_INTEGER),
            ),
        )
    ]


async def _events(
    store: Store, fanout: Fanout, reader: Reader, query: Query, after: int | None
) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    assert query.app_id is not None
    subscription = fanout.subscribe_app(query.app_id)
    try:
        yield b"retry: %d\n\n" % RETRY_MS
        if after is None:
            past, after = await newest(store, reader, query, PAST_LINES)
            yield _logs(past)
        merge, is_past = Merge(store, reader, query, after), True
        changed: Changed | None = None
        said_s = clock()
        while not fanout.is_stopping:
            async for portion in merge.portions(changed):
                yield _logs([line for found in portion if (line := told(*found))])
                said_s = clock()
            if is_past:
                is_past = False
                yield event("pastLogsSent", {})
            if clock() - said_s >= HEARTBEAT_S:
                said_s = clock()
                yield b":\n\n"
            # Should it not be told, it looks at everything once in a while.
            changed = subscription.take() if await subscription.wait(HEARTBEAT_S) else None
    finally:
        fanout.unsubscribe_app(query.app_id, subscription)


def _logs(lines: list[Told]) -> bytes:
    return b"".join(event("log", _log(line), line.id) for line in lines)


def _log(line: Told) -> dict[str, Any]:
    about = line.session.description
    return {
        "id": line.id,
        "type": about.type.upper(),
        "stream": line.stream,
        "log": line.text,
        "pod": about.hostname,
        "time": rfc3339(max(0, min(line.time_us, MAX_WALL_US))),
    }
