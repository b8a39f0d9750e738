"""URLs of endpoints."""

from __future__ import annotations

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.uplink.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://a/", Endpoint(False, "a", 80, "/")),
        ("ws://a", Endpoint(False, "a", 80, "/")),
        ("https://a.b:8443/x/y?z=1", Endpoint(True, "a.b", 8443, "/x/y?z=1")),
        ("wss://[::1]/i", Endpoint(True, "::1", 443, "/i")),
        ("http://user:secret@a:3000/i", Endpoint(False, "a", 3000, "/i")),
    ],
)
def test_parts(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize("url", ["", "a", "ftp://a/", "http://", "http://a:b/", "http://a:99999/"])
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(url)


def test_the_name_holds_no_secret() -> None:
    assert parse_endpoint("http://user:secret@a/p?token=secret").name == "a:80"
    assert parse_endpoint("wss://[::1]/i").name == "[::1]:443"


def test_urls_of_one_backend_are_the_same() -> None:
    urls = ["http://a/p", "ws://u:p@A:80/p?x=1", "http://a:80/p?"]
    assert {parse_endpoint(url).identity for url in urls} == {"http://a:80/p"}
    others = ["https://a:80/p", "http://b/p", "http://a:81/p", "http://a/p/q"]
    assert "http://a:80/p" not in {parse_endpoint(url).identity for url in others}
