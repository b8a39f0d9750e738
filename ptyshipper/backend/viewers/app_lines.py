"""``GET /api/app/{appId}/lines``: the entries of an app's sessions by pages, in the order of their times.

Pages go by cursors, which are places in that order; what comes later follows live from the id that a page
comes with, in the order in which it became readable, so that a page and what follows it have every
entry once.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.entries.derive import Wanted
from ptyshipper.backend.entries.entry import as_json
from ptyshipper.backend.entries.reading import Reader, Span
from ptyshipper.backend.entries.timeline import (
    END,
    MAX_AT_ONCE,
    PATTERN,
    START,
    Found,
    Place,
    Stretch,
    Timeline,
    TooManySessions,
    place_of,
)
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import MAX_INTEGER, session_id_of
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.backend.viewers.answers import Refused, answer
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading
from ptyshipper.backend.viewers.parameters import Parameter, choice, integer, text
from ptyshipper.backend.viewers.schemas import APP_PAGE, STREAM

APP_PATH = "/api/app/{appId}"
APP = integer("appId", "the app", 0, place="path")
_MAX_CHOSEN = 50
CHOSEN: tuple[Parameter, ...] = (
    APP,
    integer("deployment", "of this deployment", -MAX_INTEGER),
    choice("type", "of sessions of this type", ("build", "runtime")),
    text(
        "sessions",
        f"of these sessions alone: ids, up to {_MAX_CHOSEN}, with commas between them",
        33 * _MAX_CHOSEN - 1,
        pattern=rf"[0-9a-f]{{32}}(,[0-9a-f]{{32}}){{0,{_MAX_CHOSEN - 1}}}",
    ),
)
"""Whose entries are asked for."""
AFTER = text("after", "the entries behind this cursor", 50, pattern=PATTERN)

_PAGE_PARAMETERS = (
    *CHOSEN,
    integer("limit", "how many entries at most", 1, 1_000, default=500),
    AFTER,
    text("before", "the entries before this cursor", 50, pattern=PATTERN),
    integer("at", "from the first that was completed at this time (Unix, in us) or later", 0),
    text("session", "from the entry `number` of this session", 32, pattern="[0-9a-f]{32}"),
    integer("number", "of an entry of `session`", 0, default=0),
    choice(
        "from",
        "from the first entry, which is what counts else; or the last ones",
        ("start", "end"),
    ),
    STREAM,
)
_PAGE = (
    "entries in the order of the times at which they were completed; those of one session in the order of"
    " their numbers. `session` and `pod`: whose it is; `cursor`: behind it. `before` and `after` continue"
    " as the parameters do; before null: nothing that fits is before. `is_last`: nothing more that fits is"
    " stored by now. `live`: what comes later, `lines/live?after=` tells from there on. A page may hold"
    " fewer than there are, or none: as far as half a second went"
)


def operations(store: Store, access: Access, turns: Turns) -> list[Operation]:
    """Pages of an app's entries."""
    reader = Reader(store, turns)
    timeline = Timeline(store, reader)

    async def page(request: Request, view: View, asked: dict[str, Any]) -> Response:
        query = query_of(request, view, asked)
        limit, wanted = asked["limit"], Wanted(stream=asked["stream"])
        is_backwards = False
        if asked["after"] is not None:
            place = Place.read(asked["after"])
        elif asked["before"] is not None:
            place, is_backwards = Place.read(asked["before"]), True
        elif asked["session"] is not None:
            place = await _place_of(store, reader, query, asked)
        elif asked["at"] is not None:
            place = Place(asked["at"])
        else:
            is_backwards = asked["from"] == "end"
            place = END if is_backwards else START
        read = timeline.backwards if is_backwards else timeline.forwards
        try:
            return answer(_page(await read(query, place, limit, wanted), place, is_backwards))
        except TooManySessions:
            raise too_many() from None

    return [
        reading(
            access,
            f"{APP_PATH}/lines",
            "A page of the entries of an app's sessions, merged by time. Of after, before, session, at and"
            " from the first that is given counts",
            page,
            {200: Answer(_PAGE, schema=APP_PAGE)},
            _PAGE_PARAMETERS,
        )
    ]


def query_of(request: Request, view: View, asked: dict[str, Any]) -> Query:
    """Which sessions are asked for.

    Raises:
        Refused: 403 where they are not for this reader, 404 where there can't be such an app.
    """
    try:
        app_id = APP.read(request.path_params["appId"])
    except ValueError:
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such app") from None
    if view.app_id not in (None, app_id):
        raise Refused(HTTPStatus.FORBIDDEN, "that app is not for this reader")
    ids = tuple(bytes.fromhex(each) for each in (asked["sessions"] or "").split(",") if each)
    return Query(
        app_id=app_id, deployment_id=asked["deployment"], type=asked["type"], ids=tuple(set(ids))
    )


def too_many() -> Refused:
    return Refused(
        HTTPStatus.BAD_REQUEST,
        f"more than {MAX_AT_ONCE:,} sessions printed at that time; ask for a deployment or sessions",
    )


def found_json(found: Found) -> dict[str, Any]:
    """An entry, and whose it is."""
    about = found.session.description
    return {
        **as_json(found.entry, about.started_at_us),
        "session": found.session.id.hex(),
        "pod": about.hostname,
        "cursor": str(found.behind),
    }


async def _place_of(store: Store, reader: Reader, query: Query, asked: dict[str, Any]) -> Place:
    """Before an entry that is named by its session and number; behind the session if it has none yet."""
    session_id = session_id_of(asked["session"])
    session = None if session_id is None else await store.load(session_id)
    if session is None or session.app_id != query.app_id:
        raise Refused(HTTPStatus.NOT_FOUND, "the app has no such session")
    page = await reader.page_from(session, Span(asked["number"]), 1)
    if not page.entries:
        return Place(min(session.until_us, MAX_INTEGER), session.number, session.entries)
    (entry,) = page.entries
    return place_of(session, entry.completed_us, entry.number or 0)


def _page(found: Stretch, place: Place, is_backwards: bool) -> dict[str, Any]:
    is_beginning = found.is_all if is_backwards else place == START
    return {
        "entries": [found_json(each) for each in found.entries],
        "before": None if is_beginning else str(found.begin),
        "after": str(found.end),
        "is_last": place == END if is_backwards else found.is_all,
        "live": found.horizon,
    }
