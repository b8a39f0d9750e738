"""What browsers add to a request: the cookie that names them, the Origin that tells who made them ask.

Pure functions on ASGI scopes. A browser sends its cookie along with whatever any page makes it
request, so a cookie alone says who asks, but not on whose behalf.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import cookie_parser
from starlette.types import Scope

from ptyshipper.backend.credentials import BROWSER_FOR_US

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NAME = "ptyshipper"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

Origin = tuple[str, str, int]


def header(scope: Scope, name: bytes) -> str | None:
    """The one header with this name; None where there is none, or more than one."""
    found = [value for each, value in scope["headers"] if each == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def is_https(scope: Scope, public_url: str | None) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us."""
    return scope["scheme"] in ("https", "wss") or (public_url or "").startswith("https:")


def is_from_own_page(scope: Scope, public_url: str | None) -> bool:
    """Whether a page of ours made the browser ask, by the Origin that it sends.

    Where it sends none, a page may have asked for anything but a WebSocket or a change: those
    come with one, as Fetch (section 3.2) and RFC 6455 (section 4.1) have it.
    """
    if all(name != b"origin" for name, _ in scope["headers"]):
        return scope["type"] == "http" and scope["method"] in SAFE_METHODS
    origin = _origin(header(scope, b"origin"))
    return origin is not None and origin in (_own_origin(scope), _origin(public_url))


def _own_origin(scope: Scope) -> Origin | None:
    """Scheme, host and port that the request was sent to."""
    host = header(scope, b"host")
    if host is None or _HOST.fullmatch(host) is None:
        return None
    return _origin(f"{_HTTP_SCHEMES.get(scope['scheme'], scope['scheme'])}://{host}")


def _origin(url: str | None) -> Origin | None:
    try:
        parts = urlsplit(url or "")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
        return None
    return parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port


def secret_of(scope: Scope, public_url: str | None) -> str | None:
    """The secret in the browser's cookie."""
    found = cookie_parser(header(scope, b"cookie") or "")
    return found.get(_cookie_name(scope, public_url)) or None


def cookie(secret: str, scope: Scope, public_url: str | None) -> str:
    """The value of a Set-Cookie header that has a browser keep this; an empty one: that has it forget.
    ``scope``: of the request that is answered.

    Lax: a link in a mail or a chat opens a session without a new login, and nothing but a link does.
    """
    lifetime_s = BROWSER_FOR_US // 1_000_000 if secret else 0
    name, secure = _cookie_name(scope, public_url), is_https(scope, public_url)
    words = [f"{name}={secret}", f"Max-Age={lifetime_s}", "Path=/", "HttpOnly"]
    return "; ".join([*words, "SameSite=Lax", *(["Secure"] if secure else [])])


def _cookie_name(scope: Scope, public_url: str | None) -> str:
    """A browser sends its cookies to every port of a host, so the port is in the name, or two backends
    on one host would log each other's readers out. Of a proxy it is the proxy's port, as the Origin is."""
    origin = _origin(public_url) or _own_origin(scope)
    name = _NAME if origin is None else f"{_NAME}-{origin[2]}"
    # No other host of the domain, and no page without TLS, can set one with this prefix (RFC 6265bis).
    return f"__Host-{name}" if is_https(scope, public_url) else name
