"""The list of sessions as it changes: what is told adds up to what the list says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from ptyshipper.wire.messages import ByeReason
from tests.backend.viewers.test_app_logs import Pod
from tests.support.server import Server, Shipper, exit_record, output, start_record
from tests.support.stored import fresh_deployment_id
from tests.support.streams import Event, asked
from tests.support.tokens import make_token

_APPS = count(30_000)


@pytest.fixture
def app() -> int:
    """An app that no other test uses."""
    return next(_APPS)


class Seen:
    """What a reader knows by now."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._sessions = dict[str, dict[str, Any]]()
        self._ids = list[str]()
        self.events = 0

    def next(self) -> list[dict[str, Any]]:
        """The list, after one event more."""
        event = next(self._events)
        assert event.name == "sessions"
        self.events += 1
        for session in event.data["sessions"]:
            self._sessions[session["id"]] = session
        if event.data["ids"] is not None:
            self._ids = event.data["ids"]
            self._sessions = {id: self._sessions[id] for id in self._ids}
        return [self._sessions[id] for id in self._ids]

    def until(self, expected: list[Any], *fields: str) -> None:
        """Read on until these fields are so."""
        while (now := [[each[f] for f in fields] for each in self.next()]) != expected:
            assert self.events < 200, now


def path(query: str) -> str:
    return f"/api/sessions/live?{query}"


def test_list_is_told_and_what_changes_in_it(server: Server, app: int) -> None:
    """What the list says in the end is what was told by then."""
    one = Pod(server, app, hostname="web-1")
    one.ship(start_record() + output(b"a\n"))
    with asked(server, path(f"app={app}")) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        seen = Seen(answer.events())
        seen.until([["web-1", "running", 1]], "hostname", "state", "entries")
        two = Pod(server, app, hostname="web-2")
        seen.until([["web-2", 0], ["web-1", 1]], "hostname", "entries")
        two.ship(start_record() + output(b"b\nc\n"))
        seen.until([["web-2", 2], ["web-1", 1]], "hostname", "entries")
        one.ship(exit_record(3))
        seen.until([["running", None], ["exited", 3]], "state", "exit_code")
        two.say_goodbye(ByeReason.CUT)
        seen.until([["cut"], ["exited"]], "state")
        listed = server.get(f"/api/sessions?app={app}")[1]
        assert [seen._sessions[id] for id in seen._ids] == listed["sessions"]
    one.socket.close()


def test_session_enters_and_leaves_a_filtered_list(server: Server, app: int) -> None:
    pod = Pod(server, app)
    with (
        asked(server, path(f"app={app}&state=running")) as running,
        asked(server, path(f"app={app}&state=failed")) as failed,
    ):
        alive, dead = Seen(running.events()), Seen(failed.events())
        alive.until([["running"]], "state")
        assert dead.next() == []
        pod.ship(start_record() + exit_record(3))
        alive.until([], "state")
        dead.until([[3]], "exit_code")
    pod.socket.close()


def test_busy_session_is_told_of_four_times_a_second(server: Server) -> None:
    """However often it is written; and what nobody asked for, not at all."""
    deployment_id = fresh_deployment_id()
    shipper = Shipper(server, os.urandom(16), deployment_id=deployment_id)
    shipper.ship(start_record())
    other = Shipper(server, os.urandom(16), deployment_id=fresh_deployment_id())
    with asked(server, path(f"deployment={deployment_id}")) as answer:
        seen = Seen(answer.events())
        seen.next()
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 1.5:
            shipper.ship(output(b"x\n"))
            other.ship(output(b"x\n"))
        shipper.ship(exit_record())
        seen.until([["exited"]], "state")
        took_s = time.monotonic() - begun_s
        assert 1 < seen.events <= 2 + took_s / 0.25
    shipper.socket.close()
    other.socket.close()


def test_list_is_bounded_and_pages(server: Server, app: int) -> None:
    pods = [Pod(server, app, hostname=f"web-{n}") for n in range(5)]
    listed = server.get(f"/api/sessions?app={app}&limit=2")[1]
    with asked(server, path(f"app={app}&limit=2&before={listed['next']}")) as answer:
        seen = Seen(answer.events())
        assert [each["hostname"] for each in seen.next()] == ["web-2", "web-1"]
        pods.append(Pod(server, app, hostname="new"))
        pods[1].ship(start_record() + exit_record())
        seen.until([["web-2", "running"], ["web-1", "exited"]], "hostname", "state")
    for pod in pods:
        pod.socket.close()


def test_reader_of_an_app_sees_its_sessions_alone(server: Server, app: int) -> None:
    mine, other = Pod(server, app), Pod(server, app + 10**6)
    bearer = {"Authorization": f"Bearer {make_token(server, 'view', app_id=app)}"}
    with asked(server, path(""), bearer) as answer:
        assert [each["app_id"] for each in Seen(answer.events()).next()] == [app]
    with asked(server, path(f"app={app + 10**6}"), bearer) as answer:
        assert Seen(answer.events()).next() == []
    assert server.get(path(""), "")[0] == 401
    assert server.get(path("state=odd"))[0] == 400
    mine.socket.close()
    other.socket.close()
