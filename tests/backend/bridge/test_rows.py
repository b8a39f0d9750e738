"""Entries as AnvilOps' rows, no more of them at once than its live view takes."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from ptyshipper.backend.bridge.rows import BURST, PAUSE_S, TIMESTAMPS, Budget, Follower
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.records import Kind
from tests.support.chunked import session_of
from tests.support.server import exit_record, output, start_record

DATES = "timestamp without time zone"


def followed(*batches: bytes) -> tuple[Follower, list[Chunk]]:
    """A session that is followed from its beginning, and what comes."""
    session, chunks = session_of(batches)
    return Follower(Session(session.id, session.description, number=1), 7, 0, DATES), chunks


class LogRow(NamedTuple):
    """A row of COPY's text format, taken apart."""

    type: str
    deployment_id: str
    time: str
    index: str
    content: str
    pod: str
    stream: str


def rows_of(rows: list[str]) -> list[LogRow]:
    assert all(row.endswith("\n") and row.count("\n") == 1 for row in rows)
    return [LogRow(*row.rstrip("\n").split("\t")) for row in rows]


def texts(rows: list[str]) -> list[str]:
    return [row.content for row in rows_of(rows)]


def test_chunks_are_read_on_their_way_in() -> None:
    """A line that spans two is a row with the second; events but gaps are none, and are counted."""
    follower, chunks = followed(
        start_record() + output(b"a\nb"), output(b"c\n", time_us=5) + exit_record()
    )
    assert follower.follows(chunks[0])
    first = follower.read(chunks[0], BURST)
    assert (texts(first.rows), first.was, first.now, first.is_all) == (["a"], 0, 1, True)
    follower.logged = first.now
    assert follower.follows(chunks[1])
    second = follower.read(chunks[1], BURST)
    assert (texts(second.rows), second.was, second.now) == (["bc"], 1, 3)


def test_chunk_is_read_up_to_what_may_come_and_the_rest_anew() -> None:
    follower, chunks = followed(output(b"1\n2\n3\n"), output(b"4\n"))
    portion = follower.read(chunks[0], 2)
    assert (texts(portion.rows), portion.now, portion.is_all) == (["1", "2"], 2, False)
    follower.logged = portion.now
    assert not follower.follows(chunks[1])


def test_none_may_come_and_none_is_read() -> None:
    follower, chunks = followed(output(b"1\n"))
    portion = follower.read(chunks[0], 0)
    assert (portion.rows, portion.now, portion.is_all) == ([], 0, False)


def test_what_is_not_next_is_not_read() -> None:
    """After a failed commit, say: its rows are to be read back from the store."""
    follower, chunks = followed(output(b"a\n"), output(b"b\n"), output(b"c\n"))
    assert not follower.follows(chunks[1])
    follower.logged = follower.read(chunks[0], BURST).now
    assert not follower.follows(chunks[2])
    assert follower.follows(chunks[1])


def test_session_that_was_left_with_an_open_line_is_read_back() -> None:
    """Nothing in memory knows how that line began."""
    session, chunks = session_of([output(b"a\nb"), output(b"c\n")])
    stored = Session(session.id, session.description, number=1, entries=1)
    stored.next_offset, stored.open_lines = chunks[0].end_offset, (0, -1, -1)
    assert not Follower(stored, 7, 1, DATES).follows(chunks[1])


def test_rows_are_in_the_order_in_which_they_are_read() -> None:
    """By time, then by place: a line that began earlier and ended later comes later."""
    follower, (chunk,) = followed(
        output(b"slow", time_us=1_000)
        + output(b"err\n", Kind.STDERR, time_us=5_000)
        + output(b"er\n", time_us=6_000)
    )
    rows = follower.read(chunk, BURST).rows
    assert texts(rows) == ["err", "slower"]
    found = rows_of(rows)
    assert sorted(found, key=lambda row: (row.time, int(row.index))) == found


def test_content_is_escaped_as_copy_reads_it() -> None:
    """And a NUL is no text for Postgres."""
    follower, (chunk,) = followed(output(b"a\0b\tc\\d\re\x1b\n"))
    assert texts(follower.read(chunk, BURST).rows) == ["a\ufffdb\\tc\\\\d\\re\x1b"]


@pytest.mark.parametrize(
    ("type", "written"),
    [
        ("timestamp without time zone", "2023-11-14 22:13:20.123"),
        ("timestamp with time zone", "2023-11-14 22:13:20.123+00"),
        ("bigint", "1700000000123"),
    ],
)
def test_time_is_in_milliseconds_whatever_the_column(type: str, written: str) -> None:
    assert TIMESTAMPS[type](1_700_000_000_123_456) == written


def test_row_has_every_column() -> None:
    follower, (chunk,) = followed(output(b"hi\n", Kind.STDERR, time_us=1_000))
    assert rows_of(follower.read(chunk, BURST).rows) == [
        LogRow("RUNTIME", "7", "2023-11-14 22:13:20.001", "0", "hi", "web-0", "stderr")
    ]


def test_budget_is_a_burst_in_a_pause_for_each_deployment() -> None:
    budget = Budget()
    assert budget.left(1, 0.0) == BURST
    budget.spend(1, 300, 0.0)
    assert (budget.left(1, PAUSE_S / 2), budget.left(2, PAUSE_S / 2)) == (BURST - 300, BURST)
    budget.spend(1, 200, PAUSE_S / 2)
    assert budget.left(1, PAUSE_S) == 0
    assert budget.left(1, 1.5 * PAUSE_S) == BURST
    budget.forget(10.0)
    assert budget.left(1, 10.0) == BURST
