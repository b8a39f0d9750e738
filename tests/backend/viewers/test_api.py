"""The HTTP part of the API, as a viewer sees it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ptyshipper.backend.session import read_description
from ptyshipper.backend.store.base import Opening, Query
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.backend.viewers.api import listed
from tests.support.server import Server, Shipper, describe, exit_record, output, start_record
from tests.support.stored import fresh_deployment_id


@pytest.fixture
def exited(server: Server) -> str:
    """The id of a session that ended with status 3."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record(120, 40) + output(b"hello\n") + exit_record(3))
    shipper.socket.close()
    return shipper.session_id.hex()


def test_session_is_told(server: Server, exited: str) -> None:
    status, session = server.get(f"/api/sessions/{exited}")
    assert status == 200
    assert session == {
        "id": exited,
        "app_id": None,
        "deployment_id": 7,
        "type": "runtime",
        "hostname": "web-0",
        "command": ["echo", "hi"],
        "command_base64": None,
        "tty": True,
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": "2023-11-14T22:13:22.500Z",
        "state": "exited",
        "exit_code": 3,
        "exit_signal": None,
        "first_offset": 0,
        "bytes": 6,
        "entries": 2,
        "gaps": 0,
        "lost_bytes": 0,
        "cols": 120,
        "rows": 40,
    }


def test_list_has_the_session_and_obeys_its_limit(server: Server, exited: str) -> None:
    status, answer = server.get(f"/api/sessions?prefix={exited[:8]}")
    assert (status, [session["id"] for session in answer["sessions"]]) == (200, [exited])
    assert len(server.get("/api/sessions?limit=1")[1]["sessions"]) == 1


def test_long_list_is_whole_and_in_order(tmp_path: Path) -> None:
    """It is read a few at a time, and goes on from where it ended."""

    async def scenario() -> None:
        store = SqliteStore(tmp_path)
        about = read_description(describe(command=["x"] * 3_000))
        made = [number.to_bytes(16, "big") for number in range(1, 36)]
        await store.commit([], [Opening(each, about, None, False, 0) for each in made])
        newest = [each.hex() for each in reversed(made)]
        for limit, count in ((100, 35), (35, 35), (20, 20), (15, 15), (1, 1), (0, 0)):
            found, _ = await listed(store, Query(limit))
            assert [session.id.hex() for session in found] == newest[:count]
        _, before = await listed(store, Query(20))
        rest, nothing = await listed(store, Query(20, before))
        assert [session.id.hex() for session in rest] == newest[20:]
        assert nothing is None
        await store.close()

    asyncio.run(scenario())


def test_filters_leave_what_fits(server: Server) -> None:
    """Each by itself: a session has a deployment, a type, a host and a state."""
    deployment = fresh_deployment_id()
    for code, fields in (
        (0, {"hostname": "web-1"}),
        (3, {"hostname": "web-2"}),
        (0, {"hostname": "web-2", "type": "build"}),
    ):
        shipper = Shipper(server, os.urandom(16), deployment_id=deployment, **fields)
        shipper.ship(start_record() + exit_record(code))
        shipper.socket.close()

    def count(query: str) -> int:
        status, answer = server.get(f"/api/sessions?deployment={deployment}&{query}")
        assert status == 200
        return len(answer["sessions"])

    queries = [
        "",
        "hostname=web-2",
        "type=build",
        "state=failed",
        "state=succeeded",
        "state=running",
    ]
    assert [count(query) for query in queries] == [3, 2, 1, 1, 2, 0]
    assert count("app=5") == 0


def test_command_that_is_no_text_is_told(server: Server) -> None:
    """JSON may escape half a surrogate pair, and a command may be one."""
    shipper = Shipper(server, os.urandom(16), command=["\udcff"])
    shipper.ship(start_record())
    shipper.socket.close()
    assert server.get(f"/api/sessions/{shipper.session_id.hex()}")[1]["command"] == ["?"]


def test_error_has_one_shape(server: Server) -> None:
    """Whoever makes it."""
    for path, error in (
        ("/api/sessions?limit=x", "limit must be a whole number"),
        ("/api/sessions/" + "0" * 32, "there is no such session"),
        ("/api/nothing", "not found"),
    ):
        status, answer = server.get(path)
        assert answer == {"status": status, "error": error}


@pytest.mark.parametrize("wanted", ["0" * 32, "xyz", "0" * 31, "A" * 32])
def test_unknown_session_is_not_found(server: Server, wanted: str) -> None:
    assert server.get(f"/api/sessions/{wanted}")[0] == 404


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=1001",
        "limit=" + "9" * 30,
        "before=x",
        "app=1e3",
        "state=dead",
        "type=",
        "prefix=xyz",
        "prefix=" + "a" * 33,
    ],
)
def test_nonsense_is_a_bad_request(server: Server, query: str) -> None:
    assert server.get(f"/api/sessions?{query}")[0] == 400


@pytest.mark.parametrize("path", ["/api/sessions", "/api/sessions/" + "0" * 32])
def test_token_is_asked_for(server: Server, path: str) -> None:
    """None is 401, a wrong one 403, also that of the shippers."""
    assert server.get(path, token="")[0] == 401
    assert server.get(path, token="wrong")[0] == 403
    assert server.get(path, token=server.state.ingest_token)[0] == 403


def test_health_needs_no_token(server: Server) -> None:
    assert server.get("/healthz", token="") == (200, "ok\n")


def test_ingest_without_an_upgrade_asks_for_one(server: Server) -> None:
    assert server.get("/api/logs/ingest")[0] == 426
