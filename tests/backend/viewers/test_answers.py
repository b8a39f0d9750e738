"""Answers: who may in, errors in one shape, streams that break off or say why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.register import Register
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.tokens import Tokens
from ptyshipper.backend.viewers.answers import Refused, answer, guarded, streamed
from ptyshipper.errors import StoreError
from tests.support.token_store import TokenStore


def asked(handler: Any, token: bytes = b"view") -> tuple[int, Any]:
    """Status and body of what a guarded handler answers to a bearer of that token."""
    headers = [(b"authorization", b"Bearer " + token)] if token else []
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "headers": headers,
            "query_string": b"",
        }
    )
    response = asyncio.run(answered(handler, request))
    return response.status_code, json.loads(bytes(response.body))


async def answered(handler: Any, request: Request) -> Response:
    register = Register(cast(Store, TokenStore()))
    access = Access(Tokens("ingest", "view"), register, Refusals(Counts()))
    return await guarded(access, handler)(request)


async def handle(_: Request, view: View) -> Response:
    return answer({"app": view.app_id})


def raising(error: Exception) -> Any:
    async def fail(_: Request, view: View) -> Response:
        raise error

    return fail


def test_who_may_read_is_answered() -> None:
    assert asked(handle) == (200, {"app": None})
    assert asked(handle, b"") == (401, {"status": 401, "error": "unauthorized"})
    assert asked(handle, b"ingest") == (403, {"status": 403, "error": "forbidden"})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Refused(HTTPStatus.NOT_FOUND, "no such thing"), 404, "no such thing"),
        (StoreError("the disk is on fire"), 503, "service unavailable"),
        (ValueError("a secret"), 500, "internal server error"),
    ],
)
def test_error_says_what_the_reader_may_know(error: Exception, status: int, message: str) -> None:
    assert asked(raising(error)) == (status, {"status": status, "error": message})


def test_half_a_surrogate_pair_is_told() -> None:
    assert json.loads(bytes(answer("\udcff").body)) == "\udcff"


async def failing() -> AsyncGenerator[bytes, None]:
    yield b"one"
    yield b""
    raise StoreError("gone")


def sent(response: Response) -> list[bytes]:
    """The bodies that go to the server, up to where it breaks off."""
    bodies = list[bytes]()

    async def receive() -> Any:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        if "body" in message:
            bodies.append(message["body"])

    async def run() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await response(scope, receive, send)

    try:
        asyncio.run(run())
    except StoreError:
        bodies.append(b"(broken off)")
    return bodies


def test_stream_that_fails_is_not_taken_for_the_whole() -> None:
    """It breaks off, or says so where its form allows; an empty part is none."""
    assert sent(streamed(failing(), "text/plain")) == [b"one", b"(broken off)"]
    told = sent(streamed(failing(), "text/plain", told=str.encode))
    assert told == [b"one", b"the backend failed; try again", b""]
