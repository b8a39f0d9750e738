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

from ptyshipper.backend.access import refusal
from ptyshipper.backend.faults import where
from ptyshipper.backend.session import session_id_of
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError
from ptyshipper.wire.paths import SESSIONS_PATH

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
AT_A_TIME = 10
"""So many are read and written out before the loop turns again: shippers are not to wait for a long
list, and a command may have thousands of words."""

log = logging.getLogger("ptyshipper.backend")

Handler = Callable[[Request], Awaitable[Response]]


def routes(store: Store, view_token: str) -> list[Route]:
    """The HTTP part of the viewers' API."""

    def guarded(handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            refused = refusal(request.headers.raw, view_token)
            if refused is not None:
                bearer = {"www-authenticate": "Bearer"}
                return _plain(refused, bearer if refused is HTTPStatus.UNAUTHORIZED else None)
            try:
                return await handler(request)
            except StoreError as error:
                log.error("%s", error)
                return _plain(HTTPStatus.SERVICE_UNAVAILABLE)
            except Exception as error:
                log.error("a request failed: %s", where(error))
                return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)

        return answer

    async def list_sessions(request: Request) -> Response:
        given = request.query_params.get("limit", str(DEFAULT_LIMIT))
        prefix = request.query_params.get("prefix", "")
        if not (given.isascii() and given.isdigit() and len(given) <= 9) or not _is_prefix(prefix):
            return _plain(HTTPStatus.BAD_REQUEST)
        body = await _listed(store, min(int(given), MAX_LIMIT), prefix)
        return Response(body, media_type="application/json")

    async def one_session(request: Request) -> Response:
        session_id = session_id_of(request.path_params["id"])
        session = None if session_id is None else store.load(session_id)
        if session is None:
            return _plain(HTTPStatus.NOT_FOUND)
        return JSONResponse(session.summary(time.time_ns() // 1000))

    return [
        Route(SESSIONS_PATH, guarded(list_sessions)),
        Route(SESSIONS_PATH + "/{id}", guarded(one_session)),
    ]


async def _listed(store: Store, limit: int, prefix: str) -> bytes:
    """The newest sessions as a JSON object."""
    now_us, written, before = time.time_ns() // 1000, list[bytes](), None
    while len(written) < limit:
        sessions = store.newest(min(AT_A_TIME, limit - len(written)), prefix, before)
        if not sessions:
            break
        written += [json.dumps(session.summary(now_us)).encode() for session in sessions]
        before = sessions[-1].number
        await asyncio.sleep(0)
    return b'{"sessions":[%b]}' % b",".join(written)


def _is_prefix(text: str) -> bool:
    return len(text) <= 32 and all(digit in "0123456789abcdef" for digit in text)


def _plain(status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{status.phrase}\n", status.value, headers)
