"""Who may in, and as what. Answers to an upgrade that is refused."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.session import Session
from ptyshipper.backend.tokens import Tokens
from ptyshipper.wire.closing import CloseCode


class Grant(NamedTuple):
    """What a shipper's token lets it do: send sessions of this deployment (None: of any), which belong to
    this app."""

    deployment_id: int | None
    app_id: int | None

    def admits(self, deployment_id: int | None) -> bool:
        return self.deployment_id is None or self.deployment_id == deployment_id


class View(NamedTuple):
    """What a reader may see: the sessions of this app; None: all."""

    app_id: int | None

    def shows(self, session: Session) -> bool:
        return self.app_id is None or self.app_id == session.app_id


class Access:
    """Tells from a request's headers who is asking."""

    def __init__(self, issued: Tokens) -> None:
        self._issued = issued

    async def shipper(self, scope: Scope) -> Grant | HTTPStatus:
        """The grant of the token in the headers; 401 without a bearer token, 403 with a wrong one."""
        token = _bearer(scope["headers"])
        if token is None:
            return HTTPStatus.UNAUTHORIZED
        return Grant(None, None) if _is(token, self._issued.ingest) else HTTPStatus.FORBIDDEN

    async def reader(self, scope: Scope) -> View | HTTPStatus:
        """What the token in the headers lets one see; 401 without a bearer token, 403 with a wrong one."""
        token = _bearer(scope["headers"])
        if token is None:
            return HTTPStatus.UNAUTHORIZED
        return View(None) if _is(token, self._issued.view) else HTTPStatus.FORBIDDEN


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The bearer token; None where there is none, an empty one, or more than one."""
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    credentials = credentials.strip(b" ")
    return credentials if scheme.lower() == b"bearer" and credentials else None


def _is(given: bytes, token: str) -> bool:
    # What is given is not empty, so an empty token of the backend's own lets nobody in.
    return hmac.compare_digest(given, token.encode())


async def accept(
    scope: Scope, receive: Receive, send: Send, refused: HTTPStatus | None, subprotocol: str
) -> bool:
    """Accept a WebSocket that is not refused and offers the subprotocol; tell any other why not."""
    await receive()  # websocket.connect
    if refused is not None:
        await answer_upgrade(send, refused)
        return False
    if subprotocol not in scope["subprotocols"]:
        await send({"type": "websocket.accept"})
        await send(close_message(CloseCode.VERSION, f"offer {subprotocol}"))
        return False
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    return True


def close_message(code: int, reason: str) -> dict[str, object]:
    """ASGI's message that closes a WebSocket."""
    return {"type": "websocket.close", "code": int(code), "reason": reason}


async def answer_upgrade(send: Send, status: HTTPStatus) -> None:
    """Refuse a WebSocket with an HTTP answer."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send(
        {"type": "websocket.http.response.start", "status": status.value, "headers": headers}
    )
    body = f"{status.phrase}\n".encode()
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
