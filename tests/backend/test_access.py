"""Who is let in, and as what: by bearer token or by cookie, each for what it was made for."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.access import Access, Grant, View
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.register import Register
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.tokens import Tokens
from tests.support.token_store import TokenStore

INGEST, VIEW = "ingest-ingest-ingest", "view-view-view-view"


class Door:
    """An ``Access`` with these local tokens on a store of its own."""

    def __init__(self, ingest: str = INGEST, view: str = VIEW) -> None:
        self.store = TokenStore()
        self.counts = Counts()
        self._issued = Tokens(ingest, view)

    def shipper(self, *headers: tuple[str, str]) -> Grant | HTTPStatus:
        return self._ask("shipper", scope(*headers, type="websocket"))

    def reader(self, *headers: tuple[str, str], **more: str) -> View | HTTPStatus:
        return self._ask("reader", scope(*headers, **more))

    def _ask(self, what: str, scope: dict[str, Any]) -> Any:
        async def ask() -> Any:
            # A new one each time: what the register remembers is test_register's matter.
            access = Access(self._issued, Register(cast(Store, self.store)), Refusals(self.counts))
            return await getattr(access, what)(scope)

        return asyncio.run(ask())


def scope(*headers: tuple[str, str], **more: str) -> dict[str, Any]:
    is_websocket = more.get("type") == "websocket"
    return {
        "type": "http",
        "method": "GET",
        "scheme": "ws" if is_websocket else "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        **more,
    }


def bearer(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Bearer ingest-ingest-ingest", Grant(None, None)),
        ("bearer  ingest-ingest-ingest ", Grant(None, None)),
        ("Bearer ingest-ingest-ingesT", HTTPStatus.FORBIDDEN),
        ("Bearer ingest", HTTPStatus.FORBIDDEN),
        ("Bearer view-view-view-view", HTTPStatus.FORBIDDEN),
        ("Bearer \xff\x00", HTTPStatus.FORBIDDEN),
        ("Bearer psi_", HTTPStatus.FORBIDDEN),
        ("Bearer ", HTTPStatus.UNAUTHORIZED),
        ("Bearer", HTTPStatus.UNAUTHORIZED),
        ("", HTTPStatus.UNAUTHORIZED),
        ("Basic ingest-ingest-ingest", HTTPStatus.UNAUTHORIZED),
        ("ingest-ingest-ingest", HTTPStatus.UNAUTHORIZED),
    ],
)
def test_authorization_of_a_shipper(value: str, expected: Grant | HTTPStatus) -> None:
    assert Door().shipper(("host", "x"), ("authorization", value)) == expected


def test_missing_or_repeated_header_is_unauthorized() -> None:
    """Two headers are two answers to one question."""
    door = Door()
    for ask, secret in ((door.shipper, INGEST), (door.reader, VIEW)):
        assert ask() == 401
        assert ask(bearer(secret), bearer(secret)) == 401


def test_empty_token_of_the_backend_lets_nobody_in() -> None:
    door = Door("", "")
    for header in ("Bearer", "Bearer ", "Bearer  "):
        assert door.shipper(("authorization", header)) == 401
        assert door.reader(("authorization", header)) == 401
    assert door.shipper(bearer("x")) == 403


def test_an_ingest_token_is_its_deployment_s_and_its_app_s() -> None:
    door = Door()
    secret, token = door.store.make("ingest", deployment_id=7, app_id=3)
    grant = door.shipper(bearer(secret))
    assert grant == Grant(7, 3, token)
    assert isinstance(grant, Grant)
    assert [grant.admits(deployment) for deployment in (7, 8, None)] == [True, False, False]


def test_a_view_token_shows_its_app_or_all() -> None:
    door = Door()
    of_app, of_all = door.store.make("view", app_id=3), door.store.make("view")
    assert door.reader(bearer(VIEW)) == View(None)
    assert door.reader(bearer(of_app[0])) == View(3, of_app[1])
    assert door.reader(bearer(of_all[0])) == View(None, of_all[1])


def test_no_token_is_good_for_another_purpose() -> None:
    door = Door()
    secrets = {kind: door.store.make(kind)[0] for kind in ("ingest", "view", "link", "browser")}
    assert [kind for kind in secrets if door.shipper(bearer(secrets[kind])) != 403] == ["ingest"]
    assert [kind for kind in secrets if door.reader(bearer(secrets[kind])) != 403] == ["view"]
    cookies = [
        kind
        for kind in secrets
        if door.reader(("cookie", f"ptyshipper-80={secrets[kind]}"), ("host", "x")) != 401
    ]
    assert cookies == ["browser"]


def test_revoked_and_expired_tokens_are_refused() -> None:
    door = Door()
    revoked, token = door.store.make("ingest")
    door.store.revoke(token)
    expired, _ = door.store.make("view", expires_us=1)
    assert door.shipper(bearer(revoked)) == 403
    assert door.reader(bearer(expired)) == 403


def test_a_store_that_is_away_is_told_as_that(caplog: pytest.LogCaptureFixture) -> None:
    """A shipper comes back soon; with a 403 it would wait for somebody to mend its token."""
    door = Door()
    secret, _ = door.store.make("ingest")
    door.store.fails = True
    assert door.shipper(bearer(secret)) == 503
    assert door.shipper(bearer(INGEST)) == Grant(None, None)
    assert secret not in caplog.text


def test_a_cookie_counts_for_reads_and_of_all_else_only_for_our_own_page() -> None:
    door = Door()
    secret, token = door.store.make("browser", app_id=3)
    cookie, host = ("cookie", f"a=b; ptyshipper-7410={secret}"), ("host", "logs.example:7410")
    own, foreign = ("origin", "http://logs.example:7410"), ("origin", "http://evil.example")
    assert door.reader(cookie, host) == View(3, token)
    assert door.reader(cookie, host, own) == View(3, token)
    assert door.reader(cookie, host, foreign) == 403
    for more in ({"method": "POST"}, {"method": "DELETE"}, {"type": "websocket"}):
        assert door.reader(cookie, host, own, **more) == View(3, token), more
        assert door.reader(cookie, host, foreign, **more) == 403, more
        assert door.reader(cookie, host, **more) == 403, more


def test_a_bearer_token_needs_no_origin_and_a_wrong_one_no_cookie_mends() -> None:
    door = Door()
    cookie = ("cookie", f"ptyshipper-80={door.store.make('browser')[0]}")
    foreign = ("origin", "http://evil.example")
    assert door.reader(bearer(VIEW), foreign, type="websocket") == View(None)
    assert door.reader(bearer("wrong"), cookie) == 403
    assert door.reader(("authorization", "Bearer"), cookie) == 401


@pytest.mark.parametrize(
    "cookie", ["", "ptyshipper-80=", "ptyshipper-80=psb_x", "__Host-ptyshipper-80=psb_x", "x"]
)
def test_a_cookie_that_says_nothing_is_unauthorized(cookie: str) -> None:
    """What helps is to log in."""
    assert Door().reader(("cookie", cookie), ("host", "x")) == 401


def test_who_has_nothing_to_show_is_turned_away_and_not_counted() -> None:
    """As our own page of somebody who has not logged in. What does not count is."""
    door, host = Door(), ("host", "x")
    assert door.reader(host) == door.reader(host, ("cookie", "other=psb_x")) == 401
    assert not door.counts.refusals
    assert door.reader(host, ("cookie", "ptyshipper-80=psb_x")) == 401
    assert door.reader(host, ("authorization", "Basic x")) == 401
    assert door.counts.refusals == {("viewer", "token"): 2}
    assert door.shipper(host) == 401
    assert door.counts.refusals["shipper", "token"] == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["authorization", "cookie", "origin", "host", "x"]),
            st.text(st.characters(max_codepoint=255))
            | st.sampled_from(["Bearer psv_x", "ptyshipper-80=psb_x", "http://a", "a"]),
        ),
        max_size=5,
    ),
    st.sampled_from(["http", "websocket"]),
)
def test_whatever_the_headers_are_nobody_is_let_in(
    headers: list[tuple[str, str]], type: str
) -> None:
    """And nothing is raised."""
    door = Door()
    assert door.shipper(*headers) in (401, 403)
    assert door.reader(*headers, type=type) in (401, 403)
