"""The page as it is sent: under which names, with which headers, and what stands there without it."""

from __future__ import annotations

import gzip
import re
from contextlib import closing
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ptyshipper.backend.page.serving import BUILT, PAGE_NAME, read_files
from tests.support.patience import PATIENCE_S
from tests.support.server import Server


def get(server: Server, path: str, **headers: str) -> tuple[int, HTTPMessage, bytes]:
    address = urlsplit(server.state.url)
    with closing(
        HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
    ) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=named)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def assets(page: bytes) -> list[str]:
    return re.findall(r"/assets/[\w.-]+", page.decode())


@pytest.mark.parametrize(
    "path", ["/", f"/sessions/{'0' * 32}", f"/sessions/{'0' * 32}/terminal", "/apps/7", "/apps/-1"]
)
def test_page_is_the_same_for_everybody(server: Server, path: str) -> None:
    status, headers, body = get(server, path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["cache-control"] == "no-cache"
    policy = headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    )
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert body == (BUILT / PAGE_NAME).read_bytes()


@pytest.mark.parametrize(
    "path", ["/sessions/x", f"/sessions/{'0' * 33}/terminal", "/apps/x", f"/apps/{2**53}"]
)
def test_page_says_itself_that_it_can_t_be(server: Server, path: str) -> None:
    status, headers, body = get(server, path, if_none_match=get(server, "/")[1]["etag"])
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert body == (BUILT / PAGE_NAME).read_bytes()


def test_assets_are_kept_for_ever_and_packed(server: Server) -> None:
    """Their names change with what is in them."""
    names = assets(get(server, "/")[2])
    assert {Path(name).suffix for name in names} == {".css", ".js"}
    for name in names:
        status, headers, plain = get(server, name)
        assert (status, headers["content-encoding"]) == (200, None)
        assert "immutable" in headers["cache-control"]
        status, headers, packed = get(server, name, accept_encoding="br, gzip")
        assert (status, headers["content-encoding"], headers["vary"]) == (
            200,
            "gzip",
            "accept-encoding",
        )
        assert gzip.decompress(packed) == plain
        assert get(server, name, accept_encoding="gzip;q=0")[2] == plain


def test_what_a_browser_has_is_not_sent_again(server: Server) -> None:
    etag = get(server, "/")[1]["etag"]
    for given in (etag, f"W/{etag}", f'"x", {etag}'):
        status, headers, body = get(server, "/", if_none_match=given)
        assert (status, headers["etag"], body) == (304, etag, b"")
    assert get(server, "/", if_none_match='"x"')[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        f"/assets/{PAGE_NAME}",
        "/assets/..%2Fserving.py",
        "/sessions",
        "/sessions/",
        f"/sessions/{'0' * 32}/else",
        "/apps/7/terminal",
        "/else",
    ],
)
def test_nothing_else_is_there(server: Server, path: str) -> None:
    status, headers, _ = get(server, path)
    assert (status, headers["content-type"]) == (404, "application/json")


def test_without_the_built_page_one_line_says_how_to_build_it(tmp_path: Path) -> None:
    files = read_files(tmp_path)
    assert list(files) == [PAGE_NAME]
    assert b"make page" in files[PAGE_NAME].body
