"""An app's lines as AnvilOps streams them: every line once, by ids that rise, whoever comes when."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from ptyshipper.records import Kind
from tests.support.server import Server, Shipper, exit_record, output, start_record
from tests.support.stored import fresh_deployment_id
from tests.support.streams import Event, asked
from tests.support.tokens import make_token

_APPS = count(1_000)


class Pod(Shipper):
    """A shipper of an app, with a token of its own."""

    def __init__(self, server: Server, app_id: int, **about: Any) -> None:
        deployment_id = about.setdefault("deployment_id", fresh_deployment_id())
        secret = make_token(server, "ingest", deployment_id=deployment_id, app_id=app_id)
        state, server.state = server.state, replace(server.state, ingest_token=secret)
        try:
            super().__init__(server, os.urandom(16), **about)
        finally:
            server.state = state


@pytest.fixture
def app() -> int:
    """An app that no other test uses."""
    return next(_APPS)


def path(app_id: int, query: str = "") -> str:
    return f"/api/app/{app_id}/logs?{query}"


def lines_of(events: list[Event]) -> list[str]:
    return [event.data["log"] for event in events if event.name == "log"]


def test_past_then_live(server: Server, app: int) -> None:
    """What was, the sign that it was all, then each line as it comes."""
    one, two = Pod(server, app, hostname="web-1"), Pod(server, app, hostname="web-2")
    one.ship(start_record() + output(b"a\n"))
    two.ship(start_record() + output(b"b\n", Kind.STDERR))
    with asked(server, path(app)) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = answer.events()
        first, second, sign = next(events), next(events), next(events)
        assert first.data == {
            "id": first.id,
            "type": "RUNTIME",
            "stream": "stdout",
            "log": "a",
            "pod": "web-1",
            "time": "2023-11-14T22:13:20.001Z",
        }
        assert (second.data["log"], second.data["stream"]) == ("b", "stderr")
        assert (sign.name, sign.id) == ("pastLogsSent", None)
        two.ship(output(b"c\nunfinished"))
        one.ship(output(b"d\n") + exit_record())
        third, fourth = next(events), next(events)
        assert [third.data["pod"], fourth.data["pod"]] == ["web-2", "web-1"]
        ids = [event.id for event in (first, second, third, fourth)]
        assert None not in ids
        assert ids == sorted(set(ids))  # type: ignore[type-var]
    for pod in (one, two):
        pod.socket.close()


def test_burst_is_complete_in_an_open_view(server: Server, app: int) -> None:
    """100,000 lines from two pods at once; a notification is no measure of what is told."""
    pods = [Pod(server, app) for _ in range(2)]
    expected = {f"{pod} {number}" for pod in range(2) for number in range(50_000)}

    def burst(number: int) -> None:
        text = "".join(f"{number} {line}\n" for line in range(50_000)).encode()
        for at in range(0, len(text), 60_000):
            pods[number].ship(output(text[at : at + 60_000]))

    with asked(server, path(app)) as answer:
        events = answer.events()
        assert next(events).name == "pastLogsSent"
        threads = [threading.Thread(target=burst, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        told = [next(events) for _ in expected]
        for thread in threads:
            thread.join()
    assert set(lines_of(told)) == expected
    ids = [event.id for event in told]
    assert ids == sorted(set(ids))  # type: ignore[type-var]
    for pod in pods:
        pod.socket.close()


def test_last_event_id_goes_on_behind_it(server: Server, app: int) -> None:
    """With all of it, however much more than a first look that is."""
    pod = Pod(server, app)
    pod.ship(start_record() + output(b"".join(b"%d\n" % number for number in range(2_000))))
    with asked(server, path(app)) as answer:
        events = answer.events()
        past = [next(events) for _ in range(500)]
        assert lines_of(past) == [str(number) for number in range(1_500, 2_000)]
        assert next(events).name == "pastLogsSent"
    first_id = past[0].id
    assert first_id is not None
    with asked(server, path(app), {"Last-Event-ID": str(first_id - 1_000)}) as answer:
        events = answer.events()
        told = [next(events) for _ in range(1_499)]
        assert lines_of(told) == [str(number) for number in range(501, 2_000)]
        assert next(events).name == "pastLogsSent"
    pod.socket.close()


def test_filters(server: Server, app: int) -> None:
    deployment_id = fresh_deployment_id()
    build = Pod(server, app, type="build", deployment_id=deployment_id)
    build.ship(start_record() + output(b"built\n"))
    run = Pod(server, app)
    run.ship(start_record() + output(b"ran\n"))

    def told(query: str) -> list[str]:
        with asked(server, path(app, query)) as answer:
            events = list[Event]()
            for event in answer.events():
                if event.name == "pastLogsSent":
                    return lines_of(events)
                events.append(event)
        raise AssertionError("it ended")

    assert told("") == ["built", "ran"]
    assert told("type=BUILD") == ["built"]
    assert told("type=RUNTIME") == ["ran"]
    assert told(f"deploymentId={deployment_id}") == ["built"]
    assert told(f"type=RUNTIME&deploymentId={deployment_id}") == []
    for pod in (build, run):
        pod.socket.close()


def test_app_is_for_its_readers_alone(server: Server, app: int) -> None:
    mine, other = (make_token(server, "view", app_id=each) for each in (app, app + 1_000_000))
    assert server.get(path(app), other)[0] == 403
    assert server.get(path(app), "")[0] == 401
    assert server.get("/api/app/x/logs")[0] == 404
    assert server.get(path(app, "type=runtime"))[0] == 400
    with asked(server, path(app), {"Authorization": f"Bearer {mine}"}) as answer:
        assert next(answer.events()).name == "pastLogsSent"
