"""In place of ``ipaddress``: whether a host is an address, and which of the two kinds."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton


class IPv4Address:
    version = 4


class IPv6Address:
    version = 6


def ip_address(text: str) -> IPv4Address | IPv6Address:
    """Of what kind the address is; the address itself is not kept.

    Raises:
        ValueError: it is none.
    """
    address, percent, zone = text.partition("%")
    if _is(AF_INET, text):
        return IPv4Address()
    if _is(AF_INET6, address) and bool(percent) == bool(zone) and "%" not in zone:
        return IPv6Address()
    raise ValueError(f"{text!r} does not appear to be an IPv4 or IPv6 address")


def _is(family: int, text: str) -> bool:
    try:
        inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
