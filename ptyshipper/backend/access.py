"""Who may in: bearer tokens, compared in constant time. Answers to an upgrade that is refused."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from ptyshipper.wire.closing import CloseCode


def refusal(headers: Iterable[tuple[bytes, bytes]], token: str) -> HTTPStatus | None:
    """None where the headers carry ``token``; 401 without a bearer token, 403 with a wrong one."""
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    credentials = credentials.strip(b" ")
    if scheme.lower() != b"bearer" or not credentials:
        return HTTPStatus.UNAUTHORIZED
    # Not empty, so an empty token of the backend's own lets nobody in.
    if not hmac.compare_digest(credentials, token.encode()):
        return HTTPStatus.FORBIDDEN
    return None


async def upgrade(scope: Scope, receive: Receive, send: Send, token: str, subprotocol: str) -> bool:
    """Accept a WebSocket that has the token and offers the subprotocol; tell any other why not."""
    refused = refusal(scope["headers"], token)
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


def close_message(code: CloseCode, reason: str) -> dict[str, object]:
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
