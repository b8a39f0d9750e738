"""Where the backend listens, taken from its URL."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ptyshipper.errors import UsageError

_SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}


class Endpoint(NamedTuple):
    """``resource`` is the path with its query; ``secure`` means TLS."""

    secure: bool
    host: str
    port: int
    resource: str

    @property
    def name(self) -> str:
        """What messages call it: neither path, query nor user name, any of which may hold a secret."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def identity(self) -> str:
        """Which backend it is: the same for a URL that differs in nothing but its query or user."""
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.name}{self.resource.partition('?')[0]}"


def parse_endpoint(url: str) -> Endpoint:
    """A user name or password in the URL is left out: the token is what counts.

    Raises:
        UsageError: it is no http, https, ws or wss URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("the endpoint is no URL") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise UsageError("the endpoint must be an http, https, ws or wss URL with a host")
    secure = _SCHEMES[parts.scheme]
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(secure, parts.hostname, port or (443 if secure else 80), resource)
