"""How a browser is let in: a link that is good once becomes a cookie; logging out ends it.

``GET /login?code=…`` is what ``serve`` and ``ptyshipper token link`` print. The code is in the address,
where a browser's history and a proxy's log keep it, so it is worth nothing once it was used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ptyshipper.backend import browser
from ptyshipper.backend.access import Access
from ptyshipper.backend.credentials import BROWSER_FOR_US, hash_of, is_good, issue
from ptyshipper.backend.faults import where
from ptyshipper.backend.register import Register
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.viewers.openapi import Answer, Operation
from ptyshipper.backend.viewers.parameters import text
from ptyshipper.errors import StoreError
from ptyshipper.wire.paths import LOGIN_PATH

log = logging.getLogger("ptyshipper.backend")

_PRIVATE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_TEXT = "text/plain; charset=utf-8"
_ANSWERS = {
    401: "nobody is logged in",
    403: "the link was used or is too old, or another site's page asks",
    405: "a link is opened, not looked at",
    503: "the store does not answer",
}
_USED = "this link was used, or is over 10 minutes old; make another with: ptyshipper token link\n"

Handler = Callable[[Request], Awaitable[Response]]


def operations(store: Store, register: Register, access: Access) -> list[Operation]:
    """``/login`` and ``/logout``."""

    async def log_in(request: Request) -> Response:
        if request.method == "HEAD":  # whoever only looks whether a link leads anywhere
            return _told(HTTPStatus.METHOD_NOT_ALLOWED, "open it in a browser\n")
        code = request.query_params.get("code", "").encode()
        link = await register.find("link", code) and await store.take_token(hash_of(code))
        now_us = _wall_us()
        if link is None or not is_good(link, now_us):
            return _told(HTTPStatus.FORBIDDEN, _USED)
        secret, token = issue("browser", now_us, app_id=link.app_id, good_for_us=BROWSER_FOR_US)
        await store.add_token(token)
        return _home(browser.cookie(secret, request.scope, access.public_url))

    async def log_out(request: Request) -> Response:
        token = await access.browser(request.scope)
        if isinstance(token, HTTPStatus):
            return _told(token, f"{token.phrase}\n")
        await store.revoke_token(token.number, _wall_us())
        return _home(browser.cookie("", request.scope, access.public_url))

    told = {status: Answer(meaning, _TEXT) for status, meaning in _ANSWERS.items()}
    logged = {303: Answer("to the front page", None, headers=("location", "set-cookie"))}
    code = text("code", "what the link holds", 256)
    return [
        Operation(
            LOGIN_PATH,
            "A link that is good once becomes a cookie",
            _kept_up(log_in),
            {**logged, **told},
            (code,),
            security=(),
        ),
        Operation(
            "/logout",
            "The cookie is good no more",
            _kept_up(log_out),
            {**logged, **told},
            method="POST",
            security=(),
        ),
    ]


def _kept_up(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except StoreError as error:
            log.error("%s", error)
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, "the store does not answer; try again\n")
        except Exception as error:
            log.error("a request failed: %s", where(error))
            return _told(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed unexpectedly\n")

    return answer


def _told(status: HTTPStatus, text: str) -> Response:
    return PlainTextResponse(text, status.value, _PRIVATE)


def _home(cookie: str) -> Response:
    """Off to the front page, by an address without a host, which nobody's header can choose."""
    return Response(
        status_code=HTTPStatus.SEE_OTHER.value,
        headers={**_PRIVATE, "location": "/", "set-cookie": cookie},
    )


def _wall_us() -> int:
    return time.time_ns() // 1000
