"""``GET /api/sessions`` and ``GET /api/sessions/{id}``: sessions as JSON objects."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ptyshipper.backend.access import refusal
from ptyshipper.backend.session import session_id_of
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000

Handler = Callable[[Request], Awaitable[Response]]


def routes(store: Store, view_token: str) -> list[Route]:
    """The HTTP part of the viewers' API."""

    def guarded(handler: Callable[[Request], Response]) -> Handler:
        async def answer(request: Request) -> Response:
            refused = refusal(request.headers.raw, view_token)
            if refused is not None:
                bearer = {"www-authenticate": "Bearer"}
                return _plain(refused, bearer if refused is HTTPStatus.UNAUTHORIZED else None)
            try:
                return handler(request)
            except StoreError:
                return _plain(HTTPStatus.SERVICE_UNAVAILABLE)

        return answer

    def list_sessions(request: Request) -> Response:
        given = request.query_params.get("limit", str(DEFAULT_LIMIT))
        prefix = request.query_params.get("prefix", "")
        if not (given.isascii() and given.isdigit() and len(given) <= 9) or not _is_prefix(prefix):
            return _plain(HTTPStatus.BAD_REQUEST)
        now_us = time.time_ns() // 1000
        sessions = store.newest(min(int(given), MAX_LIMIT), prefix)
        return JSONResponse({"sessions": [session.summary(now_us) for session in sessions]})

    def one_session(request: Request) -> Response:
        session_id = session_id_of(request.path_params["id"])
        session = None if session_id is None else store.load(session_id)
        if session is None:
            return _plain(HTTPStatus.NOT_FOUND)
        return JSONResponse(session.summary(time.time_ns() // 1000))

    return [
        Route("/api/sessions", guarded(list_sessions)),
        Route("/api/sessions/{id}", guarded(one_session)),
    ]


def _is_prefix(text: str) -> bool:
    return len(text) <= 32 and all(digit in "0123456789abcdef" for digit in text)


def _plain(status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{status.phrase}\n", status.value, headers)
