"""Pages of a session's entries over HTTP, and the histogram."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode
from tests.support.server import Server, Shipper, exit_record, output, start_record

STARTED_US = 1_700_000_000_000_000


def shipped(server: Server, *parts: bytes) -> str:
    """The id of a session that has shipped this; a part is a chunk."""
    shipper = Shipper(server, os.urandom(16))
    for part in parts:
        shipper.ship(part)
    shipper.socket.close()
    return shipper.session_id.hex()


@pytest.fixture(scope="module")
def mixed(server: Server) -> str:
    """Nine entries: lines of two streams, an event of each kind; the last second's are the end's."""
    return shipped(
        server,
        start_record() + output(b"one\ntw", time_us=1_000_000),
        output(b"error\n", Kind.STDERR, 2_000_000) + output(b"o\nthree\n", time_us=2_000_000),
        # The gap stands for as many bytes as it takes itself, so that offsets add up by themselves.
        encode(Kind.RESIZED, 3_000_000, records.resized(100, 30))
        + encode(Kind.GAP, 4_000_000, records.gap(33, 30, GapCause.OVERFLOW)),
        output(b"end", time_us=5_000_000)
        + encode(Kind.SIGNALLED, 6_000_000, records.signalled(15))
        + exit_record(3, time_us=7_000_000),
    )


def page(server: Server, session: str, query: str = "") -> dict[str, Any]:
    status, answer = server.get(f"/api/sessions/{session}/lines?{query}")
    assert status == 200, answer
    assert isinstance(answer, dict)
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    return [entry["text"] for entry in answer["entries"]]


ALL = [
    "one",
    "error",
    "two",
    "three",
    "window 100 x 30",
    "30 bytes lost: the spool was full",
    "SIGTERM sent",
    "end",
    "exited with 3",
]


def test_all_of_it(server: Server, mixed: str) -> None:
    answer = page(server, mixed)
    assert texts(answer) == ALL
    assert [entry["number"] for entry in answer["entries"]] == list(range(9))
    ids = [entry["id"] for entry in answer["entries"]]
    assert ids == sorted(set(ids))
    assert answer["entries"][2]["time_us"] == STARTED_US + 1_000_000
    assert answer["entries"][8] | {"id": 0} == {
        "number": 8,
        "id": 0,
        "time_us": STARTED_US + 7_000_000,
        "kind": "exited",
        "text": "exited with 3",
        "code": 3,
        "signal": None,
        "core_dumped": False,
    }
    del answer["entries"]
    assert answer == {
        "unfinished": [],
        "first": 0,
        "end": 9,
        "prev": None,
        "next": 9,
        "is_last": True,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("from=3&limit=2", ALL[3:5]),
        ("from=100", []),
        ("before=3&limit=2", ALL[1:3]),
        ("before=100&limit=2", ALL[7:]),
        ("before=0", []),
        ("tail=3", ALL[6:]),
        ("tail=1000000", ALL),
        (f"at={STARTED_US + 2_000_000}&limit=1", ["error"]),
        ("at=0&limit=1", ["one"]),
        (f"at={STARTED_US + 8_000_000}", []),
        ("stream=stderr", ["error", *ALL[4:7], "exited with 3"]),
        (f"since={STARTED_US + 2_500_000}&until={STARTED_US + 4_500_000}", ALL[4:6]),
        (f"since={STARTED_US + 2_500_000}&before=6", ALL[4:6]),
        (f"until={STARTED_US + 1_500_000}&tail=5", ["one"]),
        (f"until={STARTED_US + 1_500_000}&since={STARTED_US + 2_000_000}", []),
    ],
)
def test_any_part_of_it(server: Server, mixed: str, query: str, found: list[str]) -> None:
    assert texts(page(server, mixed, query)) == found


def test_cursors_lead_through_all_of_it_both_ways(server: Server, mixed: str) -> None:
    forwards, answer = list[str](), page(server, mixed, "limit=2")
    while True:
        forwards += texts(answer)
        if answer["is_last"]:
            break
        answer = page(server, mixed, f"limit=2&from={answer['next']}")
    backwards, answer = list[str](), page(server, mixed, "tail=2")
    while True:
        backwards = texts(answer) + backwards
        if answer["prev"] is None:
            break
        answer = page(server, mixed, f"limit=2&before={answer['prev']}")
    assert forwards == backwards == ALL


def test_line_without_an_end_is_seen(server: Server) -> None:
    """At the end of a running session, whole once its newline is there."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"one\n$ ", Kind.TTY))
    session = shipper.session_id.hex()
    answer = page(server, session, "tail=5")
    assert texts(answer) == ["one"]
    (line,) = answer["unfinished"]
    assert (line["text"], line["number"], line["stream"]) == ("$ ", None, "tty")
    shipper.ship(output(b"ls\n", Kind.TTY))
    assert texts(page(server, session, f"from={answer['next']}")) == ["$ ls"]
    shipper.socket.close()


def test_markup_and_escapes_are_text(server: Server) -> None:
    """A page is JSON in ASCII, whatever was printed."""
    hostile = b"<script>alert(1)</script>\x1b]52;c;aGk=\x07\x9b\xe2\x80\xae\x00"
    answer = page(server, shipped(server, start_record() + output(hostile + b"\n")))
    assert texts(answer) == [hostile.decode("utf-8", "replace")]


@pytest.mark.parametrize(
    "query",
    [
        "from=-1",
        "from=x",
        "from=" + "9" * 20,
        "limit=0",
        "limit=1001",
        "stream=stdin",
        "tail=0",
        "at=now",
    ],
)
def test_nonsense_is_a_bad_request(server: Server, mixed: str, query: str) -> None:
    assert server.get(f"/api/sessions/{mixed}/lines?{query}")[0] == 400


@pytest.mark.parametrize("path", ["lines", "histogram"])
def test_session_and_token_are_asked_for(server: Server, mixed: str, path: str) -> None:
    assert server.get(f"/api/sessions/{'0' * 32}/{path}")[0] == 404
    assert server.get(f"/api/sessions/{mixed}/{path}", token="")[0] == 401
    assert server.get(f"/api/sessions/{mixed}/{path}", token="wrong")[0] == 403


def test_histogram_adds_up(server: Server, mixed: str) -> None:
    """Every entry is in one of its buckets, which have one length."""
    status, answer = server.get(f"/api/sessions/{mixed}/histogram?buckets=7")
    assert status == 200
    assert sum(bucket["entries"] for bucket in answer["buckets"]) == 9
    assert answer["begin_us"] == answer["buckets"][0]["begin_us"] == STARTED_US
    assert answer["end_us"] == STARTED_US + 7_000_001
    assert len(answer["buckets"]) == 7


def test_histogram_of_a_part_has_that_part(server: Server, mixed: str) -> None:
    """Of nothing, it is empty and has no length."""
    query = f"since={STARTED_US + 4_500_000}&until={STARTED_US + 9_000_000}&buckets=1"
    (bucket,) = server.get(f"/api/sessions/{mixed}/histogram?{query}")[1]["buckets"]
    assert bucket["begin_us"] == STARTED_US + 4_500_000
    assert bucket["entries"] == 3
    empty = server.get(f"/api/sessions/{shipped(server)}/histogram?buckets=3")[1]
    assert [(each["bytes"], each["entries"]) for each in empty["buckets"]] == [(0, 0)] * 3
    assert empty["begin_us"] == empty["end_us"]
