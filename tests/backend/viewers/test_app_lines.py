"""An app's entries over HTTP: pages by cursors, what follows live, and who may see them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from ptyshipper.records import Kind, encode, resized
from tests.backend.viewers.test_app_logs import Pod
from tests.support.server import Server, exit_record, output, start_record
from tests.support.streams import Event, asked
from tests.support.tokens import make_token

_APPS = count(20_000)
BEGUN_US = 1_700_000_000_000_000


@pytest.fixture
def app() -> int:
    """An app that no other test uses."""
    return next(_APPS)


def path(app_id: int, query: str = "", what: str = "lines") -> str:
    return f"/api/app/{app_id}/{what}?{query}"


def page(server: Server, app_id: int, query: str = "") -> dict[str, Any]:
    status, answer = server.get(path(app_id, query))
    assert status == 200, answer
    return dict(answer)


def texts(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["text"] for entry in entries]


def lines(text: str, time_us: int, kind: Kind = Kind.STDOUT) -> bytes:
    return output(text.encode(), kind, time_us=time_us)


@pytest.fixture
def pods(server: Server, app: int) -> Iterator[list[Pod]]:
    """Two, whose lines alternate; the first was delivered last."""
    made = [Pod(server, app, hostname=f"web-{n}", deployment_id=app * 10 + n) for n in (1, 2)]
    resize = encode(Kind.RESIZED, 150, resized(80, 24))
    made[1].ship(start_record() + lines("b\n", 200) + lines("d\n", 400, Kind.STDERR))
    made[0].ship(
        start_record() + lines("a\n", 100) + resize + lines("c\n", 300) + exit_record(time_us=500)
    )
    yield made
    for pod in made:
        pod.socket.close()


def test_pods_are_merged_by_time(server: Server, app: int, pods: list[Pod]) -> None:
    found = page(server, app)
    assert texts(found["entries"]) == ["a", "window 80 x 24", "b", "c", "d", "exited with 0"]
    assert (found["before"], found["is_last"]) == (None, True)
    first = found["entries"][0]
    session = first.pop("session")
    alone = page_of_session(server, session)[0]
    assert first.pop("pod") == "web-1"
    assert first.pop("cursor")
    assert first == alone


def page_of_session(server: Server, session: str) -> list[dict[str, Any]]:
    status, answer = server.get(f"/api/sessions/{session}/lines")
    assert status == 200
    return list(answer["entries"])


def test_pages_both_ways(server: Server, app: int, pods: list[Pod]) -> None:
    """Also from any entry's own cursor, a time, and an entry by its number."""
    everything = page(server, app)["entries"]
    seen, cursor = list[str](), ""
    while True:
        found = page(server, app, f"limit=2&after={cursor}" if cursor else "limit=2&from=start")
        seen += texts(found["entries"])
        cursor = found["after"]
        if found["is_last"]:
            break
    assert seen == texts(everything)
    found = page(server, app, "limit=2&from=end")
    assert (texts(found["entries"]), found["is_last"]) == (["d", "exited with 0"], True)
    seen = texts(found["entries"])
    while found["before"] is not None:
        found = page(server, app, f"limit=2&before={found['before']}")
        seen = texts(found["entries"]) + seen
    assert seen == texts(everything)
    for at, entry in enumerate(everything):
        assert page(server, app, f"after={entry['cursor']}")["entries"] == everything[at + 1 :]
        assert page(server, app, f"before={entry['cursor']}")["entries"] == everything[: at + 1]
        there = page(server, app, f"session={entry['session']}&number={entry['number']}")
        assert there["entries"] == everything[at:]
    assert texts(page(server, app, f"at={BEGUN_US + 200}")["entries"])[0] == "b"
    assert page(server, app, f"at={BEGUN_US + 10**12}")["entries"] == []


def test_filters(server: Server, app: int, pods: list[Pod]) -> None:
    assert texts(page(server, app, "stream=stderr")["entries"]) == [
        "window 80 x 24", "d", "exited with 0",
    ]  # fmt: skip
    assert texts(page(server, app, "stream=none")["entries"]) == ["window 80 x 24", "exited with 0"]
    assert texts(page(server, app, f"deployment={app * 10 + 2}")["entries"]) == ["b", "d"]
    assert page(server, app, "type=build")["entries"] == []
    one, two = (pod.session_id.hex() for pod in pods)
    assert texts(page(server, app, f"sessions={two}&from=end&limit=1")["entries"]) == ["d"]
    assert len(page(server, app, f"sessions={two},{one}")["entries"]) == 6
    assert page(server, app, f"sessions={os.urandom(16).hex()}")["entries"] == []


def test_app_is_for_its_readers_alone(server: Server, app: int, pods: list[Pod]) -> None:
    mine, other = (make_token(server, "view", app_id=each) for each in (app, app + 10**6))
    for what in ("lines", "lines/live", "histogram", "search"):
        asked_for = path(app, "q=x", what)
        assert server.get(asked_for, other)[0] == 403
        assert server.get(asked_for, "")[0] == 401
        assert server.get(path(app, "sessions=x&q=x", what))[0] == 400
    assert server.get("/api/app/x/lines")[0] == 404
    assert server.get(path(app, "after=1.2"))[0] == 400
    session = pods[0].session_id.hex()
    assert server.get(path(app + 1, f"session={session}"))[0] == 404
    assert len(server.get(path(app), mine)[1]["entries"]) == 6


def entries_of(events: Iterator[Event], many: int) -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    while len(found) < many:
        event = next(events)
        if event.name == "entries":
            found += event.data
    assert len(found) == many
    return found


def test_what_follows_a_page(server: Server, app: int, pods: list[Pod]) -> None:
    """From the id that it comes with: every entry once, in the order in which they became readable; also
    what belongs before it."""
    found = page(server, app, "from=end&limit=1")
    pods[1].ship(lines("late\n", 450) + lines("new\n", 600))
    with asked(server, path(app, f"after={found['live']}", "lines/live")) as answer:
        events = answer.events()
        late, new = entries_of(events, 2)
        assert texts([late, new]) == ["late", "new"]
        assert texts(page(server, app, f"after={late['cursor']}")["entries"]) == [
            "exited with 0", "new",
        ]  # fmt: skip
        pods[1].ship(lines("newer\n", 700))
        (newer,) = entries_of(events, 1)
        assert page(server, app, f"after={new['cursor']}")["entries"] == [newer]


def test_stream_goes_on_behind_the_last_event(server: Server, app: int, pods: list[Pod]) -> None:
    with asked(server, path(app, "after=0", "lines/live")) as answer:
        for event in answer.events():
            if event.name == "entries":
                break
    pods[1].ship(lines("more\n", 900))
    with asked(
        server, path(app, "after=0", "lines/live"), {"Last-Event-ID": str(event.id)}
    ) as answer:
        assert texts(entries_of(answer.events(), 1)) == ["more"]


def test_open_lines_are_told_and_replaced(server: Server, app: int) -> None:
    pod = Pod(server, app, tty=True, hostname="web-9")
    pod.ship(start_record() + output(b" 10%", Kind.TTY))

    with asked(server, path(app, "", "lines/live")) as answer:
        events = answer.events()

        def shown() -> list[tuple[str, str]]:
            while (event := next(events)).name != "unfinished":
                pass
            return [(entry["pod"], entry["text"]) for entry in event.data]

        assert shown() == [("web-9", " 10%")]
        pod.ship(output(b"\r 50%", Kind.TTY))
        assert shown() == [("web-9", " 50%")]
        pod.ship(output(b"\rdone\n", Kind.TTY))
        assert texts(entries_of(events, 1)) == ["done"]
        assert shown() == []
    pod.socket.close()


def searched(server: Server, app_id: int, query: str) -> list[dict[str, Any]]:
    with asked(server, path(app_id, query, "search")) as answer:
        assert answer.status == 200
        return list(answer.objects())


def test_search_goes_through_all_pods_in_order(server: Server, app: int) -> None:
    pods = [Pod(server, app, hostname=f"web-{n}") for n in (1, 2)]
    pods[0].ship(start_record())
    pods[1].ship(start_record())
    for at in range(6):
        pods[at % 2].ship(lines(f"Needle {at}\nhay\n" * 2, 1_000 * (at + 1)))
    hits = [each["hit"] for each in searched(server, app, "q=needle") if "hit" in each]
    assert texts(hits) == [f"Needle {at}" for at in range(6) for _ in range(2)]
    assert {hit["pod"] for hit in hits} == {"web-1", "web-2"}
    assert hits == [e for e in page(server, app)["entries"] if e["text"].startswith("Needle")]
    *found, end = searched(server, app, "q=needle&limit=5")
    assert (len([each for each in found if "hit" in each]), end["end"]["reason"]) == (5, "hits")
    rest = searched(server, app, f"q=needle&after={end['end']['next']}")
    assert [each["hit"] for each in rest if "hit" in each] == hits[5:]
    assert rest[-1]["end"]["reason"] == "complete"
    some = searched(server, app, f"q=n&case=true&since={BEGUN_US + 2_000}&until={BEGUN_US + 4_000}")
    assert not any("hit" in each for each in some)
    some = searched(server, app, f"q=N&case=true&since={BEGUN_US + 2_000}&until={BEGUN_US + 4_000}")
    assert texts([each["hit"] for each in some if "hit" in each]) == [
        "Needle 1", "Needle 1", "Needle 2", "Needle 2",
    ]  # fmt: skip
    assert searched(server, app + 1, "q=x")[-1]["end"]["reason"] == "complete"
    for pod in pods:
        pod.socket.close()


def test_histogram_adds_up_what_all_pods_printed(server: Server, app: int) -> None:
    """Short sessions as a whole, long ones by their chunks; of a span, what is in it."""
    long = Pod(server, app, hostname="long")
    long.ship(start_record())
    for second in range(0, 100, 10):
        long.ship(lines("tick\n", second * 10**6))
    short = Pod(server, app, hostname="short", started_at_us=BEGUN_US + 55 * 10**6)
    short.ship(start_record() + lines("x\n" * 50, 10) + exit_record(time_us=20))
    status, whole = server.get(path(app, "buckets=10", "histogram"))
    assert status == 200
    assert len(whole["buckets"]) == 10
    assert whole["begin_us"] == BEGUN_US
    assert sum(bucket["entries"] for bucket in whole["buckets"]) == 10 + 51
    until = f"since={BEGUN_US + 50 * 10**6}&until={BEGUN_US + 60 * 10**6}"
    part = server.get(path(app, f"buckets=10&{until}", "histogram"))[1]
    assert part["begin_us"] == BEGUN_US + 50 * 10**6
    assert [bucket["entries"] for bucket in part["buckets"]][5] >= 51
    nothing = server.get(path(app + 1, "buckets=3", "histogram"))[1]
    assert [bucket["entries"] for bucket in nothing["buckets"]] == [0, 0, 0]
    for pod in (long, short):
        pod.socket.close()


def test_the_log_is_taken_away_in_its_order(server: Server, app: int, pods: list[Pod]) -> None:
    with asked(server, path(app, "format=text", "download")) as answer:
        assert answer.headers["content-disposition"] == (
            f'attachment; filename="ptyshipper-app-{app}.txt"'
        )
        text = b"".join(answer.lines()).decode().splitlines()
    assert [line.split(" ", 1)[1] for line in text] == [
        "web-1 a", "web-1 --- window 80 x 24 ---", "web-2 b", "web-1 c", "web-2 d",
        "web-1 --- exited with 0 ---",
    ]  # fmt: skip
    assert text[0].startswith("2023-11-14T22:13:20.000Z ")
    until = f"format=jsonl&stream=none&until={BEGUN_US + 500}"
    with asked(server, path(app, until, "download")) as answer:
        (entry,) = map(json.loads, b"".join(answer.lines()).decode().splitlines())
    assert (entry["text"], entry["pod"]) == ("window 80 x 24", "web-1")


def test_a_download_of_nothing_is_empty(server: Server, app: int) -> None:
    with asked(server, path(app, "format=text", "download")) as answer:
        assert (answer.status, b"".join(answer.lines())) == (200, b"")


def test_many_lines_are_taken_away_whole(server: Server, app: int) -> None:
    pod = Pod(server, app, hostname="web-1")
    pod.ship(start_record())
    for begin in range(0, 20_000, 2_000):
        pod.ship(lines("".join(f"line {n}\n" for n in range(begin, begin + 2_000)), 10 + begin))
    with asked(server, path(app, "format=text", "download")) as answer:
        found = [line.rsplit(" ", 1)[1] for line in b"".join(answer.lines()).decode().splitlines()]
    assert found == [str(n) for n in range(20_000)]
    pod.socket.close()
