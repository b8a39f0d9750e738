"""``GET /api/sessions`` and ``GET /api/sessions/{id}``: sessions as JSON objects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.session import MAX_INTEGER, Session, session_id_of
from ptyshipper.backend.store.base import STATES, Query, Store
from ptyshipper.backend.viewers.answers import Refused, answer, json_bytes
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import choice, integer, text
from ptyshipper.backend.viewers.schemas import ID, SESSION, a_list, an_object, optional
from ptyshipper.wire.paths import SESSIONS_PATH

AT_A_TIME = 10
"""So many are read and written out before the loop turns again: shippers are not to wait for a long
list, and a command may have thousands of words."""

_LISTED = an_object(
    {"sessions": a_list(SESSION), "next": optional({"type": "integer", "minimum": 0})}
)
FILTERS = (
    integer("limit", "how many at most", 0, 1_000, default=100),
    integer("before", "the `next` of the answer before", 0),
    text("prefix", "what their ids begin with", 32, pattern="[0-9a-f]*"),
    integer("app", "of this app", -MAX_INTEGER),
    integer("deployment", "of this deployment", -MAX_INTEGER),
    choice("type", "of this type", ("build", "runtime")),
    text("hostname", "of this host, which is a pod's name", 255),
    choice("state", "as it is now; `succeeded` is an exit with 0, `failed` any other", STATES),
)


def operations(store: Store, access: Access) -> list[Operation]:
    """Sessions, listed and one by one."""

    async def list_sessions(_: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(view, asked)
        if query is None:
            return answer({"sessions": [], "next": None})
        written, last = list[bytes](), None
        async for session in in_turns(store, query):
            written.append(json_bytes(session.summary(query.now_us)))
            last = session.number
        next_ = last if len(written) == query.limit else None
        body = b'{"sessions":[%b],"next":%b}' % (b",".join(written), json_bytes(next_))
        return Response(body, media_type="application/json")

    async def one_session(request: Request, view: View, _: dict[str, Any]) -> Response:
        session = await find(store, request, view)
        return answer(session.summary(time.time_ns() // 1000))

    return [
        reading(
            access,
            SESSIONS_PATH,
            "The newest sessions that fit, in the order in which they came in, newest first",
            list_sessions,
            {
                200: Answer(
                    "`next` continues the list, as `before`; null: this is its end", schema=_LISTED
                )
            },
            FILTERS,
        ),
        reading(
            access,
            SESSIONS_PATH + "/{id}",
            "One session",
            one_session,
            {200: Answer("the session", schema=SESSION)},
            (ID,),
        ),
    ]


async def find(store: Store, request: Request, view: View) -> Session:
    """The session that the path names.

    Raises:
        Refused: 404 where there is none, or it is not for this reader.
    """
    session_id = session_id_of(request.path_params["id"])
    session = None if session_id is None else await store.load(session_id)
    if session is None or not view.shows(session):
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such session")
    return session


def query_of(view: View, asked: dict[str, Any]) -> Query | None:
    """What the ``FILTERS`` ask for, as of now; None: nothing that is for this reader."""
    if view.app_id is not None and asked["app"] not in (None, view.app_id):
        return None
    return Query(
        asked["limit"],
        asked["before"],
        asked["prefix"] or "",
        view.app_id if asked["app"] is None else asked["app"],
        asked["deployment"],
        asked["type"],
        asked["hostname"],
        asked["state"],
        time.time_ns() // 1000,
    )


async def listed(store: Store, query: Query) -> tuple[list[Session], int | None]:
    """The sessions, and how to go on (``before``); None: there are no more."""
    sessions = [session async for session in in_turns(store, query)]
    is_full = bool(sessions) and len(sessions) == query.limit
    return sessions, sessions[-1].number if is_full else None


async def in_turns(store: Store, query: Query) -> AsyncIterator[Session]:
    """The sessions, read a few at a time."""
    left, before = query.limit, query.before
    while left > 0:
        few = replace(query, limit=min(AT_A_TIME, left), before=before)
        sessions = await store.sessions(few)
        for session in sessions:
            yield session
        if len(sessions) < few.limit:
            return
        before = sessions[-1].number
        left -= len(sessions)
        await asyncio.sleep(0)
