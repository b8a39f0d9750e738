"""Proxies that say for whom they ask: believed where they are known, and from nobody else.

uvicorn's own way believes whatever comes from this machine, and no host.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


class BehindProxies:
    """Hands connections on as the proxies among ``trusted`` found them."""

    def __init__(self, app: ASGIApp, trusted: Iterable[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("client") and self._trusts(scope["client"][0]):
            scope = self._as_found(scope)
        await self._app(scope, receive, send)

    def _trusts(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._trusted)

    def _as_found(self, scope: Scope) -> Scope:
        """The scope as the first proxy's client made it.

        Each proxy appends to a list, so what is right of the first address that is not trusted was
        written by proxies that are, and what is left of it by anybody. Of the scheme and the host the
        last one counts, which the proxy next to us wrote or let pass.
        """
        found = dict(scope)
        for host in reversed(_listed(scope, b"x-forwarded-for")):
            if _address(host) is None:
                break
            found["client"] = (host, 0)
            if not self._trusts(host):
                break
        schemes, hosts = _listed(scope, b"x-forwarded-proto"), _listed(scope, b"x-forwarded-host")
        if schemes and schemes[-1].lower() in _WEBSOCKET_SCHEMES:
            scheme = schemes[-1].lower()
            is_websocket = scope["type"] == "websocket"
            found["scheme"] = _WEBSOCKET_SCHEMES[scheme] if is_websocket else scheme
        if hosts:
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            found["headers"] = [*others, (b"host", hosts[-1].encode("latin-1"))]
        return found


def _listed(scope: Scope, name: bytes) -> list[str]:
    """The words of a header that is a list, and may come in parts."""
    parts = b",".join(value for each, value in scope["headers"] if each == name)
    return [word for word in map(str.strip, parts.decode("latin-1").split(",")) if word]


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    # A listener on both kinds of address sees an IPv4 client by an IPv6 one.
    return getattr(address, "ipv4_mapped", None) or address
