"""A text looked for in all of a session."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ptyshipper.records import Kind
from tests.support.server import Server, Shipper, exit_record, output, start_record
from tests.support.streams import asked


def shipped(server: Server, *parts: bytes) -> str:
    shipper = Shipper(server, os.urandom(16))
    for part in parts:
        shipper.ship(part)
    shipper.socket.close()
    return shipper.session_id.hex()


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    """A thousand lines, every hundredth an error, another stream, a line without an end."""
    lines = [
        b"%d %s\n" % (n, b"an \x1b[31mERROR\x1b[0m" if n % 100 == 0 else b"fine")
        for n in range(1_000)
    ]
    parts = [output(b"".join(lines[at : at + 30])) for at in range(0, 1_000, 30)]
    return shipped(
        server,
        start_record(),
        *parts,
        output(b"error on tty\n", Kind.TTY) + output(b"open error", Kind.STDERR),
    )


def search(server: Server, session: str, query: str) -> list[dict[str, Any]]:
    with asked(server, f"/api/sessions/{session}/search?{query}") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        return list(answer.objects())


def numbers(found: list[dict[str, Any]]) -> list[int | None]:
    return [each["hit"]["number"] for each in found if "hit" in each]


def test_every_hit_in_order_then_the_end(server: Server, session: str) -> None:
    """Colours within it do not hide it; a line that is open is found without a number."""
    found = search(server, session, "q=an+error")
    assert numbers(found) == list(range(0, 1_000, 100))
    assert found[-1] == {"end": {"reason": "complete", "next": 1_001}}
    assert numbers(search(server, session, "q=error"))[-2:] == [1_000, None]


def test_case_and_stream_and_place(server: Server, session: str) -> None:
    assert numbers(search(server, session, "q=ERROR&case=true")) == list(range(0, 1_000, 100))
    assert numbers(search(server, session, "q=error&stream=tty")) == [1_000]
    assert numbers(search(server, session, "q=ERROR&case=true&from=450")) == list(
        range(500, 1_000, 100)
    )
    assert numbers(search(server, session, "q=nothing")) == []


def test_limit_ends_it_with_where_to_go_on(server: Server, session: str) -> None:
    """All hits come once when each search goes on where the one before ended."""
    found, begin = list[int | None](), 0
    while True:
        answer = search(server, session, f"q=ERROR&case=true&limit=3&from={begin}")
        found += numbers(answer)
        end = answer[-1]["end"]
        if end["reason"] == "complete":
            break
        assert end["reason"] == "hits"
        begin = end["next"]
    assert found == list(range(0, 1_000, 100))


def test_span_of_time(server: Server) -> None:
    """Only what was completed in it."""
    session = shipped(server, *(output(b"x %d\n" % at, time_us=at * 1_000_000) for at in range(5)))
    started_us = 1_700_000_000_000_000
    query = f"q=x&since={started_us + 1_000_000}&until={started_us + 3_000_000}"
    found = search(server, session, query)
    assert numbers(found) == [1, 2]
    assert found[-1] == {"end": {"reason": "complete", "next": 3}}


def test_event_is_found_by_its_words(server: Server) -> None:
    found = search(server, shipped(server, start_record() + exit_record(3)), "q=exited+with")
    assert found[1]["hit"]["code"] == 3


def test_progress_comes_first_and_others_are_answered_meanwhile(server: Server) -> None:
    """A search of 60 MB is a matter of slices; its reader may leave."""
    many = output(b"some line or other\n" * 3_400)
    shipper = Shipper(server, os.urandom(16))
    for _ in range(100):
        for _ in range(9):
            shipper.send(many)
        shipper.wait_acknowledged()
    shipper.socket.close()
    with asked(server, f"/api/sessions/{shipper.session_id.hex()}/search?q=zzz") as answer:
        progress = next(answer.objects())["progress"]
        assert progress["done_bytes"] <= progress["all_bytes"] == len(many) * 900
        assert server.get("/healthz") == (200, "ok\n")


@pytest.mark.parametrize(
    "query", ["", "q=", "q=" + "x" * 1_001, "q=x&case=yes", "q=x&limit=0", "q=x&stream=3"]
)
def test_nonsense_is_a_bad_request(server: Server, session: str, query: str) -> None:
    assert server.get(f"/api/sessions/{session}/search?{query}")[0] == 400


def test_session_is_asked_for(server: Server) -> None:
    assert server.get(f"/api/sessions/{'0' * 32}/search?q=x")[0] == 404
