"""Whose page made a browser ask, and the cookie that it keeps."""

from __future__ import annotations

from typing import Any

import pytest

from ptyshipper.backend import browser


def scope(headers: dict[str, str], **more: str) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "websocket", "scheme": "ws", "headers": encoded, **more}


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("ws", "logs.example", "http://logs.example"),
        ("ws", "logs.example:80", "http://logs.example"),
        ("wss", "logs.example", "https://logs.example"),
        ("wss", "LOGS.example:443", "https://logs.example"),
        ("ws", "127.0.0.1:7410", "http://127.0.0.1:7410"),
        ("ws", "[::1]:7410", "http://[::1]:7410"),
    ],
)
def test_own_pages(scheme: str, host: str, origin: str) -> None:
    asked = scope({"host": host, "origin": origin}, scheme=scheme)
    assert browser.is_from_own_page(asked, None)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("logs.example", "http://evil.example"),
        ("logs.example", "https://logs.example"),
        ("logs.example", "http://logs.example:8080"),
        ("logs.example:8080", "http://logs.example"),
        ("logs.example", "http://logs.example.evil.example"),
        ("logs.example", "http://evil.example/logs.example"),
        ("logs.example", "http://logs.example@evil.example"),
        ("evil.example@logs.example", "http://logs.example"),
        ("logs.example/x", "http://logs.example"),
        ("logs.example#x", "http://logs.example"),
        ("logs.example:99999", "http://logs.example:99999"),
        ("", "http://"),
        ("", "null"),
        ("null", "null"),
        ("logs.example", ""),
        ("logs.example", "logs.example"),
        ("logs.example", "file://logs.example"),
        ("[::1", "http://[::1"),
    ],
)
def test_foreign_pages_and_tricks_with_the_host(host: str, origin: str) -> None:
    assert not browser.is_from_own_page(scope({"host": host, "origin": origin}), None)


def test_repeated_headers_are_nobody_s() -> None:
    own = {"host": "a", "origin": "http://a"}
    for name in own:
        asked = scope(own)
        asked["headers"].append((name.encode(), own[name].encode()))
        assert not browser.is_from_own_page(asked, None), name


def test_public_url_is_our_own_whatever_the_host() -> None:
    """As behind a proxy that is not trusted, or changes the host."""
    asked = scope({"host": "10.0.0.7:7410", "origin": "https://logs.example"})
    assert browser.is_from_own_page(asked, "https://logs.example")
    assert not browser.is_from_own_page(asked, "https://logs.example:8443")


def test_without_an_origin_only_reading_is_anybody_s() -> None:
    def allowed(**more: str) -> bool:
        return browser.is_from_own_page(scope({"host": "a"}, **more), None)

    assert not allowed()
    assert {
        m for m in ("GET", "HEAD", "POST", "PUT", "DELETE") if allowed(type="http", method=m)
    } == {
        "GET",
        "HEAD",
    }


@pytest.mark.parametrize(
    ("scheme", "public_url", "expected"),
    [
        ("https", None, True),
        ("wss", None, True),
        ("http", None, False),
        ("http", "https://logs.example", True),
        ("http", "http://logs.example", False),
    ],
)
def test_https_is_what_the_browser_speaks(
    scheme: str, public_url: str | None, expected: bool
) -> None:
    assert browser.is_https(scope({}, scheme=scheme), public_url) is expected


def test_a_cookie_comes_back_as_it_was_kept() -> None:
    for scheme in ("ws", "wss"):
        secure = scheme == "wss"
        host = {"host": "logs.example:7410"}
        kept = browser.cookie("psb_secret", scope(host, scheme=scheme), None)
        pair, *attributes = kept.split("; ")
        asked = scope({"cookie": f"other={{}}; {pair}", **host}, scheme=scheme)
        assert browser.secret_of(asked, None) == "psb_secret"
        assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(attributes)
        assert ("Secure" in attributes) == pair.startswith("__Host-") == secure
        assert not any(each.startswith("Domain") for each in attributes)


def test_an_empty_cookie_is_forgotten() -> None:
    assert "Max-Age=0" in browser.cookie("", scope({"host": "x"}), None).split("; ")


@pytest.mark.parametrize(
    ("scheme", "host", "public_url", "name"),
    [
        ("http", "127.0.0.1:7410", None, "ptyshipper-7410"),
        ("ws", "[::1]:7411", None, "ptyshipper-7411"),
        ("http", "logs.example", None, "ptyshipper-80"),
        ("wss", "logs.example", None, "__Host-ptyshipper-443"),
        # A proxy that changes the host: replicas may have different ports of their own.
        ("http", "10.0.0.7:7410", "https://logs.example", "__Host-ptyshipper-443"),
        ("http", "10.0.0.8:7411", "https://logs.example:8443", "__Host-ptyshipper-8443"),
        ("http", "no host", None, "ptyshipper"),
    ],
)
def test_backends_on_one_host_have_cookies_of_their_own(
    scheme: str, host: str, public_url: str | None, name: str
) -> None:
    """A browser keeps them by host, whatever the port. Behind a proxy it is the one that it is known by."""
    asked = scope({"host": host}, scheme=scheme)
    assert browser.cookie("psb_x", asked, public_url).startswith(f"{name}=psb_x; ")
    asked = scope({"host": host, "cookie": f"ptyshipper-1=psb_y; {name}=psb_x"}, scheme=scheme)
    assert browser.secret_of(asked, public_url) == "psb_x"


def test_over_tls_a_cookie_without_the_prefix_does_not_count() -> None:
    """A page without TLS on the same host could have set it."""
    asked = scope({"cookie": "ptyshipper-443=psb_x", "host": "x"}, scheme="wss")
    assert browser.secret_of(asked, None) is None
