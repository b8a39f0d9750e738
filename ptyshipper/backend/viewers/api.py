"""``GET /api/sessions`` and ``GET /api/sessions/{id}``: sessions as JSON objects."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.faults import where
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.session import session_id_of
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.paths import SESSIONS_PATH

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
AT_A_TIME = 10
"""So many are read and written out before the loop turns again: shippers are not to wait for a long
list, and a command may have thousands of words."""

log = logging.getLogger("ptyshipper.backend")

Handler = Callable[[Request, View], Awaitable[Response]]


def guarded(
    access: Access, refusals: Refusals, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """``handler`` for who may read, with what they may see; answers for all else."""

    async def answer(request: Request) -> Response:
        try:
            view = await access.reader(request.scope)
            if isinstance(view, HTTPStatus):
                refusals.note("viewer", view, request.scope)
                bearer = {"www-authenticate": "Bearer"}
                return plain(view, bearer if view is HTTPStatus.UNAUTHORIZED else None)
            return await handler(request, view)
        except StoreError as error:
            log.error("%s", error)
            return plain(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception as error:
            log.error("a request failed: %s", where(error))
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    return answer


def routes(store: Store, access: Access, refusals: Refusals) -> list[Route]:
    """Sessions, listed and one by one."""

    async def list_sessions(request: Request, view: View) -> Response:
        given = request.query_params.get("limit", str(DEFAULT_LIMIT))
        prefix = request.query_params.get("prefix", "")
        if not (given.isascii() and given.isdigit() and len(given) <= 9) or not _is_prefix(prefix):
            return plain(HTTPStatus.BAD_REQUEST)
        body = await _listed(store, view, min(int(given), MAX_LIMIT), prefix)
        return Response(body, media_type="application/json")

    async def one_session(request: Request, view: View) -> Response:
        session_id = session_id_of(request.path_params["id"])
        session = None if session_id is None else await store.load(session_id)
        if session is None or not view.shows(session):
            return plain(HTTPStatus.NOT_FOUND)
        return JSONResponse(session.summary(time.time_ns() // 1000))

    return [
        Route(SESSIONS_PATH, guarded(access, refusals, list_sessions)),
        Route(SESSIONS_PATH + "/{id}", guarded(access, refusals, one_session)),
    ]


async def _listed(store: Store, view: View, limit: int, prefix: str) -> bytes:
    """The newest sessions as a JSON object."""
    now_us, written, before = time.time_ns() // 1000, list[bytes](), None
    while len(written) < limit:
        query = Query(min(AT_A_TIME, limit - len(written)), before, prefix, app_id=view.app_id)
        sessions = await store.sessions(query)
        if not sessions:
            break
        written += [json.dumps(session.summary(now_us)).encode() for session in sessions]
        before = sessions[-1].number
        await asyncio.sleep(0)
    return b'{"sessions":[%b]}' % b",".join(written)


def _is_prefix(text: str) -> bool:
    return len(text) <= 32 and all(digit in "0123456789abcdef" for digit in text)


def plain(status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    """An answer that says no more than its status."""
    return PlainTextResponse(f"{status.phrase}\n", status.value, headers)
