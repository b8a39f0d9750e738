"""A browser's way in and out, on a real backend: the link, the cookie, the pages that may use it."""

from __future__ import annotations

import http.client
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from email.message import Message
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from ptyshipper.backend import token_command
from ptyshipper.backend.token_command import Place
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from tests.support.patience import PATIENCE_S, until
from tests.support.server import Server, Shipper, output, running_server, start_record


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("login")) as running:
        yield running


def make_link(server: Server, app_id: int | None = None) -> str:
    """What ``ptyshipper token link`` prints."""
    said = StringIO()
    token_command.link(place(server), app_id=app_id, public_url=None, out=said)
    return said.getvalue().strip()


def place(server: Server) -> Place:
    return Place(server.data_dir, None)


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, str]:
    address = urlsplit(server.state.url)
    with closing(
        http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
    ) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def path_of(link: str) -> str:
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}"


def logged_in(server: Server, app_id: int | None = None) -> str:
    """A browser's cookie."""
    status, headers, _ = ask(server, path_of(make_link(server, app_id)))
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


def test_a_link_becomes_a_cookie_that_reads(server: Server) -> None:
    link = make_link(server)
    assert link.startswith(f"{server.state.url}/login?code=psl_")
    status, headers, body = ask(server, path_of(link))
    assert (status, headers["location"], body) == (303, "/", "")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert cookie.startswith(f"ptyshipper-{urlsplit(server.state.url).port}=psb_")
    assert set(attributes) == {"Max-Age=2592000", "Path=/", "HttpOnly", "SameSite=Lax"}
    assert ask(server, "/api/sessions", cookie=cookie)[0] == 200
    assert ask(server, "/api/sessions")[0] == 401


def test_two_backends_on_one_host_keep_their_readers(server: Server, tmp_path: Path) -> None:
    """A browser sends to each what either has set."""
    with running_server(tmp_path) as other:
        both = "; ".join((logged_in(server), logged_in(other)))
        assert len(both.split("; ")) == 2
        for each in (server, other):
            assert ask(each, "/api/sessions", cookie=both)[0] == 200


def test_a_link_is_good_once(server: Server) -> None:
    path = path_of(make_link(server))
    assert ask(server, path)[0] == 303
    status, headers, body = ask(server, path)
    assert (status, headers["set-cookie"], headers["referrer-policy"]) == (403, None, "no-referrer")
    assert "ptyshipper token link" in body


def test_of_two_who_use_a_link_at_once_one_gets_in(server: Server) -> None:
    for _ in range(5):
        path, statuses = path_of(make_link(server)), list[int]()
        together = threading.Barrier(8)

        def use() -> None:
            together.wait()  # noqa: B023 # it has ended before the next round
            statuses.append(ask(server, path)[0])  # noqa: B023

        users = [threading.Thread(target=use) for _ in range(8)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        assert sorted(statuses) == [303] + [403] * 7


def test_a_look_at_a_link_does_not_use_it(server: Server) -> None:
    """A chat that shows where a link leads asks with HEAD."""
    path = path_of(make_link(server))
    assert ask(server, path, "HEAD")[0] == 405
    assert ask(server, path, "POST")[0] == 405
    assert ask(server, path)[0] == 303


def test_an_expired_link_is_refused(server: Server) -> None:
    path = path_of(make_link(server))
    with closing(sqlite3.connect(server.data_dir / "ptyshipper.db", timeout=10)) as db, db:
        db.execute("UPDATE tokens SET expires_us = 1 WHERE kind = 'link'")
    assert ask(server, path)[0] == 403


def test_a_revoked_link_is_refused(server: Server) -> None:
    path = path_of(make_link(server))
    said = StringIO()
    token_command.show(place(server), as_json=True, out=said)
    newest = json.loads(said.getvalue().splitlines()[-1])
    token_command.revoke(place(server), newest["number"], lambda _: None)
    assert ask(server, path)[0] == 403


@pytest.mark.parametrize("query", ["", "?code=", "?code=psl_x", "?code=%00", "?code=%ff", "?x=1"])
def test_no_code_is_no_way_in(server: Server, query: str) -> None:
    status, headers, _ = ask(server, f"/login{query}")
    assert (status, headers["set-cookie"]) == (403, None)


def test_other_tokens_are_no_code(server: Server) -> None:
    for secret in (server.state.view_token, logged_in(server).partition("=")[2]):
        assert ask(server, f"/login?code={secret}")[0] == 403


def test_the_redirect_goes_nowhere_that_a_header_says(server: Server) -> None:
    path = path_of(make_link(server))
    _, headers, _ = ask(
        server, path, **{"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    )
    assert headers["location"] == "/"


def test_a_cookie_has_the_app_of_its_link(server: Server) -> None:
    """Sessions of no app, or another, are not there for it."""
    shipper = Shipper(server, os.urandom(16))
    path = f"/api/sessions/{shipper.session_id.hex()}"
    assert ask(server, path, cookie=logged_in(server))[0] == 200
    assert ask(server, path, cookie=logged_in(server, 3))[0] == 404
    shipper.socket.close()


def test_logging_out_ends_it(server: Server) -> None:
    cookie = logged_in(server)
    origin = server.state.url
    status, headers, _ = ask(server, "/logout", "POST", cookie=cookie, origin=origin)
    assert (status, headers["location"]) == (303, "/")
    assert "Max-Age=0" in headers["set-cookie"]
    until(lambda: ask(server, "/api/sessions", cookie=cookie)[0] == 401, "the cookie is refused")


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_another_page_logs_nobody_out(server: Server, origin: str | None) -> None:
    cookie = logged_in(server)
    headers = {} if origin is None else {"origin": origin}
    assert ask(server, "/logout", "POST", cookie=cookie, **headers)[0] == 403
    assert ask(server, "/logout", cookie=cookie, **headers)[0] == 405
    assert ask(server, "/api/sessions", cookie=cookie)[0] == 200
    assert ask(server, "/logout", "POST")[0] == 401


def view(server: Server, session_id: bytes, cookie: str, origin: str | None) -> ClientConnection:
    return connect(
        f"{server.ws_url}/api/sessions/{session_id.hex()}/records?follow=1",
        additional_headers={"Cookie": cookie},
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(messages.VIEWER_SUBPROTOCOL)],
        proxy=None,
        open_timeout=PATIENCE_S,
    ).__enter__()


def test_a_websocket_is_for_our_own_page(server: Server) -> None:
    """A page of somebody else could open one, and the browser would send the cookie along."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    cookie = logged_in(server)
    with view(server, shipper.session_id, cookie, server.state.url) as viewer:
        assert messages.read_viewer_message(viewer.recv(PATIENCE_S)).records == start_record()
    for origin in (None, "http://evil.example", server.state.url.replace("http:", "https:")):
        with pytest.raises(InvalidStatus) as refused:
            view(server, shipper.session_id, cookie, origin)
        assert refused.value.response.status_code == 403
    shipper.socket.close()


def test_a_browser_that_logs_out_sees_no_more(server: Server) -> None:
    """Also where it looks on already."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    cookie, origin = logged_in(server), server.state.url
    with view(server, shipper.session_id, cookie, origin) as viewer:
        viewer.recv(PATIENCE_S)
        assert ask(server, "/logout", "POST", cookie=cookie, origin=origin)[0] == 303
        with pytest.raises(ConnectionClosed) as closed:
            viewer.recv(PATIENCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.UNAUTHORIZED
    shipper.ship(output(b"on"))
    shipper.socket.close()


def test_behind_a_trusted_proxy_the_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    with running_server(tmp_path, trusted_proxies="127.0.0.1") as server:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "logs.example"}
        _, headers, _ = ask(server, path_of(make_link(server)), **forwarded)
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert cookie.startswith("__Host-ptyshipper-443=psb_")
        assert "Secure" in attributes
        assert ask(server, "/api/sessions", cookie=cookie, **forwarded)[0] == 200
        own = {**forwarded, "origin": "https://logs.example"}
        assert ask(server, "/logout", "POST", cookie=cookie, **own)[0] == 303


def test_an_unknown_proxy_makes_no_page_our_own(server: Server) -> None:
    """Nor its cookie one for TLS."""
    cookie = logged_in(server)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "logs.example"}
    own = {**forwarded, "origin": "https://logs.example"}
    assert ask(server, "/logout", "POST", cookie=cookie, **own)[0] == 403


def test_with_a_public_url_links_and_origins_are_its(tmp_path: Path) -> None:
    with running_server(tmp_path, public_url="https://logs.example") as server:
        link = make_link(server)
        assert link.startswith("https://logs.example/login?code=")
        cookie = ask(server, path_of(link))[1]["set-cookie"].partition(";")[0]
        assert cookie.startswith("__Host-")
        origin = "https://logs.example"
        assert ask(server, "/logout", "POST", cookie=cookie, origin=origin)[0] == 303


def test_no_secret_is_logged(server: Server) -> None:
    """After all of the above: that somebody was refused is told, and neither codes nor cookies are."""
    said = server.log_path.read_text()
    assert "refused" in said
    assert not re.search("psl_|psb_|code=", said)
