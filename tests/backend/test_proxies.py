"""What a proxy says counts where it is trusted, and is a stranger's word elsewhere."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from ptyshipper.backend.proxies import BehindProxies

TRUSTED = ("10.0.0.0/8", "192.0.2.7", "fd00::/8")
Seen = tuple[str, str, str]


def seen(
    client: str | None, *headers: tuple[str, str], scheme: str = "http", type: str = "http"
) -> Seen:
    """Client, scheme and host as the application sees them."""
    found: list[Seen] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
        assert len(hosts) == 1
        found.append((scope["client"][0] if scope["client"] else "", scope["scheme"], hosts[0]))

    given = [("host", "inner:7410"), *headers]
    scope = {
        "type": type,
        "scheme": scheme,
        "client": client and (client, 1234),
        "headers": [(name.encode(), value.encode()) for name, value in given],
    }
    untouched = {**scope, "headers": list(scope["headers"])}

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    networks = [ip_network(each) for each in TRUSTED]
    asyncio.run(BehindProxies(application, networks)(scope, nothing, nothing))
    assert scope == untouched
    return found[0]


FORWARDED = (
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "logs.example"),
)


@pytest.mark.parametrize("proxy", ["10.1.2.3", "192.0.2.7", "fd00::1", "::ffff:10.1.2.3"])
def test_a_trusted_proxy_is_believed(proxy: str) -> None:
    assert seen(proxy, *FORWARDED) == ("203.0.113.9", "https", "logs.example")
    assert seen(proxy, *FORWARDED, type="websocket", scheme="ws") == (
        "203.0.113.9",
        "wss",
        "logs.example",
    )


@pytest.mark.parametrize(
    "stranger", ["203.0.113.1", "192.0.2.8", "127.0.0.1", "::1", "fe80::1", "unix"]
)
def test_a_stranger_is_not(stranger: str) -> None:
    """Not even one on this machine."""
    assert seen(stranger, *FORWARDED) == (stranger, "http", "inner:7410")


def test_without_an_address_nobody_is_trusted() -> None:
    assert seen(None, *FORWARDED) == ("", "http", "inner:7410")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        (["10.9.9.9"], "10.9.9.9"),
        (["2001:db8::1"], "2001:db8::1"),
        (["203.0.113.9, nonsense"], "10.1.2.3"),
        (["203.0.113.9, nonsense, 10.9.9.9"], "10.9.9.9"),
        (["203.0.113.9,"], "203.0.113.9"),
        ([""], "10.1.2.3"),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(
    forwarded_for: list[str], client: str
) -> None:
    """What is left of it, anybody may have written."""
    headers = [("x-forwarded-for", value) for value in forwarded_for]
    assert seen("10.1.2.3", *headers)[0] == client


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("HTTPS", "https"),
        ("http", "http"),
        ("https, http", "http"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
def test_only_a_scheme_that_is_one_counts(proto: str, scheme: str) -> None:
    assert seen("10.1.2.3", ("x-forwarded-proto", proto))[1] == scheme


def test_of_several_hosts_the_nearest_proxy_s_counts() -> None:
    assert seen("10.1.2.3", ("x-forwarded-host", "evil.example, logs.example"))[2] == "logs.example"


def test_a_proxy_that_says_nothing_changes_nothing() -> None:
    assert seen("10.1.2.3") == ("10.1.2.3", "http", "inner:7410")
