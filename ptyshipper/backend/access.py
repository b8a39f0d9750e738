"""Who may in, and as what. Answers to an upgrade that is refused."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

from ptyshipper.backend import browser
from ptyshipper.backend.credentials import Kind
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.register import Register
from ptyshipper.backend.seats import Seats
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Token
from ptyshipper.backend.tokens import Tokens
from ptyshipper.errors import StoreError
from ptyshipper.wire.closing import CloseCode

log = logging.getLogger("ptyshipper.backend")


class Grant(NamedTuple):
    """What a shipper's token lets it do: send sessions of this deployment (None: of any), which belong to
    this app. ``token`` is the store's, None for the one of this directory and for AnvilOps', which are
    good for all ``deployments`` of an app."""

    deployment_id: int | None
    app_id: int | None
    token: Token | None = None
    deployments: frozenset[int] | None = None

    def admits(self, deployment_id: int | None) -> bool:
        if self.deployments is not None:
            return deployment_id in self.deployments
        return self.deployment_id is None or self.deployment_id == deployment_id


class View(NamedTuple):
    """What a reader may see: the sessions of this app; None: all. ``token`` as in ``Grant``."""

    app_id: int | None
    token: Token | None = None

    def shows(self, session: Session) -> bool:
        return self.app_id is None or self.app_id == session.app_id


class App(Protocol):
    """Who may ship: an app, and its deployments."""

    @property
    def id(self) -> int: ...

    @property
    def deployments(self) -> frozenset[int]: ...


class Apps(Protocol):
    """Another register of secrets, by app."""

    async def app_of(self, secret: bytes) -> App | None:
        """The app whose secret this is. Raises StoreError."""


class Access:
    """Tells from a request's headers who is asking.

    Refusals: 401 without a token, 403 with a wrong one, 503 while the store can't tell.

    Args:
        issued: the tokens of this directory, which are good for everything.
        register: those of the store.
        refusals: told of everybody who is refused.
        public_url: where browsers find this backend, if not at the address that they name.
        apps: whose secrets are good as well.
        seats: for readers who stay; None: any number of them.
    """

    def __init__(
        self,
        issued: Tokens,
        register: Register,
        refusals: Refusals,
        public_url: str | None = None,
        apps: Apps | None = None,
        seats: Seats | None = None,
    ) -> None:
        self._issued = issued
        self._register = register
        self._refusals = refusals
        self.public_url = public_url
        self._apps = apps
        self._seats = seats or Seats()

    async def shipper(self, scope: Scope) -> Grant | HTTPStatus:
        """What the token in the headers grants."""
        grant = await self._shipper(scope)
        if isinstance(grant, HTTPStatus):
            self._refusals.note("shipper", grant, scope)
        return grant

    async def _shipper(self, scope: Scope) -> Grant | HTTPStatus:
        secret = _bearer(scope["headers"])
        if secret is None:
            return HTTPStatus.UNAUTHORIZED
        if _is(secret, self._issued.ingest):
            return Grant(None, None)
        token = await self._find("ingest", secret)
        if not isinstance(token, HTTPStatus):
            return Grant(token.deployment_id, token.app_id, token)
        if token is HTTPStatus.FORBIDDEN and self._apps is not None:
            return await self._of_app(self._apps, secret)
        return token

    async def _of_app(self, apps: Apps, secret: bytes) -> Grant | HTTPStatus:
        try:
            app = await apps.app_of(secret)
        except StoreError as error:
            log.error("%s", error)
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.FORBIDDEN if app is None else Grant(None, app.id, None, app.deployments)

    async def reader(self, scope: Scope) -> View | HTTPStatus:
        """What the token in the headers lets one see, or else the browser's cookie, with which 403 also
        means that a page of somebody else asks."""
        view = await self._reader(scope)
        # Our own page finds out that nobody is logged in by asking with nothing in its hands.
        if isinstance(view, HTTPStatus) and self._shows_something(scope):
            self._refusals.note("viewer", view, scope)
        return view

    def _shows_something(self, scope: Scope) -> bool:
        return (
            any(name == b"authorization" for name, _ in scope["headers"])
            or browser.secret_of(scope, self.public_url) is not None
        )

    async def _reader(self, scope: Scope) -> View | HTTPStatus:
        if any(name == b"authorization" for name, _ in scope["headers"]):
            secret = _bearer(scope["headers"])
            if secret is None:
                return HTTPStatus.UNAUTHORIZED
            if _is(secret, self._issued.view):
                return View(None)
            token = await self._find("view", secret)
        else:
            token = await self.browser(scope)
        return token if isinstance(token, HTTPStatus) else View(token.app_id, token)

    async def browser(self, scope: Scope) -> Token | HTTPStatus:
        """The token in the browser's cookie."""
        secret = browser.secret_of(scope, self.public_url)
        if secret is None:
            return HTTPStatus.UNAUTHORIZED
        if not browser.is_from_own_page(scope, self.public_url):
            return HTTPStatus.FORBIDDEN
        token = await self._find("browser", secret.encode("latin-1"))
        # An old cookie is as good as none: what helps is to log in.
        return HTTPStatus.UNAUTHORIZED if token is HTTPStatus.FORBIDDEN else token

    async def _find(self, kind: Kind, secret: bytes) -> Token | HTTPStatus:
        try:
            return await self._register.find(kind, secret) or HTTPStatus.FORBIDDEN
        except StoreError as error:
            log.error("%s", error)
            return HTTPStatus.SERVICE_UNAVAILABLE

    @contextmanager
    def seat(self, kind: str, scope: Scope) -> Iterator[bool]:
        """A seat for a reader who stays, for as long as this lasts; False where all are taken."""
        with self._seats.seat(kind) as has_seat:
            if not has_seat:
                self._refusals.note("viewer", "seats", scope)
            yield has_seat

    def watching(
        self, admitted: Grant | View, close: Callable[[], object]
    ) -> AbstractContextManager[None]:
        """While it is entered, ``close`` is called when the token is revoked or expires."""
        return self._register.watching(admitted.token, close)


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
    scope: Scope,
    receive: Receive,
    send: Send,
    refused: HTTPStatus | None,
    subprotocol: str,
    retry_after_s: int = 0,
) -> bool:
    """Accept a WebSocket that is not refused and offers the subprotocol; tell any other why not, and when
    to come again."""
    await receive()  # websocket.connect
    if refused is not None:
        await answer_upgrade(send, refused, retry_after_s)
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


async def answer_upgrade(send: Send, status: HTTPStatus, retry_after_s: int = 0) -> None:
    """Refuse a WebSocket with an HTTP answer; with ``Retry-After``, where it is not 0."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if retry_after_s:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    await send(
        {"type": "websocket.http.response.start", "status": status.value, "headers": headers}
    )
    body = f"{status.phrase}\n".encode()
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
