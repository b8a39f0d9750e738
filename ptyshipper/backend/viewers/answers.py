"""How readers are answered over HTTP: JSON and streams, one shape for every error, and who is let in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.faults import where
from ptyshipper.backend.seats import NO_SEAT_RETRY_S
from ptyshipper.errors import StoreError

log = logging.getLogger("ptyshipper.backend")

Handler = Callable[[Request, View], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that is answered with an error; ``message`` says why, to a person."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def json_bytes(value: Any) -> bytes:
    """In ASCII: half a surrogate pair, which a command may hold, survives in it."""
    return json.dumps(value, separators=(",", ":")).encode()


def answer(value: Any) -> Response:
    """200, with ``value`` as JSON."""
    return Response(json_bytes(value), media_type="application/json")


def refusal(
    status: HTTPStatus, message: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The one shape of an error; without a message it says no more than its status."""
    value = {"status": status.value, "error": message or status.phrase.lower()}
    return Response(json_bytes(value), status.value, headers, "application/json")


def streamed(
    parts: AsyncGenerator[bytes, None],
    media_type: str,
    headers: Mapping[str, str] | None = None,
    *,
    told: Callable[[str], bytes] | None = None,
) -> Response:
    """200, with parts that are made while they are sent; a reader who leaves ends them.

    Args:
        told: makes a part of an error's message. Without it a stream that fails breaks off, so that
            nobody takes it for the whole.
    """

    async def guarded_parts() -> AsyncIterator[bytes]:
        try:
            async with aclosing(parts):
                async for part in parts:
                    if part:  # an empty chunk is HTTP's sign for the end
                        yield part
        except Exception as error:
            log.error("a stream failed: %s", where(error))
            if told is None:
                raise
            yield told("the backend failed; try again")

    fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return StreamingResponse(guarded_parts(), 200, {**fixed, **(headers or {})}, media_type)


async def refuse_unrouted(_: Request, error: Exception) -> Response:
    """Starlette's own errors, of paths and methods that there are not, in the same shape."""
    assert isinstance(error, HTTPException)
    return refusal(HTTPStatus(error.status_code), headers=error.headers)


def guarded(access: Access, handler: Handler) -> Endpoint:
    """``handler`` for who may read, with what they may see; answers for all else."""

    async def endpoint(request: Request) -> Response:
        try:
            view = await access.reader(request.scope)
            if isinstance(view, HTTPStatus):
                bearer = {"www-authenticate": "Bearer"}
                return refusal(view, headers=bearer if view is HTTPStatus.UNAUTHORIZED else None)
            answered = await handler(request, view)
            is_long = isinstance(answered, StreamingResponse)
            return _Staying(answered, access, view) if is_long else answered
        except Refused as refused:
            return refusal(refused.status, refused.message)
        except StoreError as error:
            log.error("%s", error)
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception as error:
            log.error("a request failed: %s", where(error))
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

    return endpoint


class _Staying(Response):
    """A stream: it takes a seat, and breaks off once its reader's token is good no more."""

    def __init__(self, stream: Response, access: Access, view: View) -> None:
        self._stream = stream
        self._access = access
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        with self._access.seat("stream", scope) as has_seat:
            if not has_seat:
                full = refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "too many look on; come again later",
                    {"retry-after": str(NO_SEAT_RETRY_S)},
                )
                await full(scope, receive, send)
                return
            with self._access.watching(self._view, task.cancel):
                await self._stream(scope, receive, send)
