"""asciicast v3: intervals that add up, text cut at characters, sizes that are sizes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.printed.cast import CastWriter
from ptyshipper.records import GapCause, Kind, Record

SESSION: dict[str, Any] = {
    "command": ["echo", "a b", "\udcff"],
    "started_at": "2023-11-14T22:13:20.500Z",
    "cols": 0,
    "rows": 0,
}


def events(*given_records: Record) -> list[tuple[float, str, str]]:
    writer = CastWriter(SESSION)
    text = "".join(writer.feed(record) for record in given_records) + writer.finish()
    return [tuple(json.loads(line)) for line in text.split("\n")[:-1]]


def test_header_has_what_players_ask_for() -> None:
    """A session without a size is shown on a usual terminal."""
    header = json.loads(CastWriter(SESSION).header())
    assert header["version"] == 3
    assert header["term"] == {"cols": 80, "rows": 24}
    assert header["timestamp"] == 1_700_000_000
    assert header["command"] == "echo 'a b' '?'"
    sized = json.loads(CastWriter({**SESSION, "cols": 120, "rows": 40}).header())
    assert sized["term"] == {"cols": 120, "rows": 40}


def test_session_of_every_kind_of_record() -> None:
    found = events(
        Record(Kind.STARTED, 0, records.started(0, 80, 24, 7)),
        Record(Kind.TTY, 1_000, b"hi\r\n"),
        Record(Kind.RESIZED, 2_000, records.resized(100, 30)),
        Record(Kind.RESIZED, 2_500, records.resized(0, 0)),
        Record(Kind.SIGNALLED, 2_600, records.signalled(15)),
        Record(Kind.GAP, 3_000, records.gap(500, 400, GapCause.OVERFLOW)),
        Record(Kind.EXITED, 4_000, records.exited(3, 0, False)),
    )
    assert found == [
        (0.001, "o", "hi\r\n"),
        (0.001, "r", "100x30"),
        (0.001, "m", "SIGTERM sent"),
        (0.0, "m", "400 bytes lost: the spool was full"),
        (0.001, "x", "3"),
    ]


def test_size_at_the_start_is_told_where_it_was_another() -> None:
    """A session's own size is its last."""
    start = Record(Kind.STARTED, 0, records.started(0, 100, 30, 7))
    assert events(start) == [(0.0, "r", "100x30")]
    writer = CastWriter({**SESSION, "cols": 100, "rows": 30})
    assert writer.feed(start) == ""


def test_size_is_one_that_a_player_can_bear() -> None:
    """As the session told it, it would be 4 billion cells."""
    huge = CastWriter({**SESSION, "cols": 65_535, "rows": 65_535})
    assert json.loads(huge.header())["term"] == {"cols": 1_000, "rows": 1_000}
    resized = Record(Kind.RESIZED, 0, records.resized(65_535, 2))
    assert events(resized) == [(0.0, "r", "1000x2")]


def test_exit_by_signal_is_128_and_its_number() -> None:
    assert events(Record(Kind.EXITED, 0, records.exited(0, 9, False))) == [(0.0, "x", "137")]


def test_newlines_of_a_pipe_are_new_lines() -> None:
    """No terminal has turned them yet; those of a terminal are left alone."""
    assert events(Record(Kind.STDOUT, 0, b"a\nb\r\n"))[0][2] == "a\r\nb\r\n"
    assert events(Record(Kind.TTY, 0, b"a\nb"))[0][2] == "a\nb"


def test_newline_whose_return_came_in_the_record_before_is_whole() -> None:
    joined = "".join(
        data
        for _, _, data in events(Record(Kind.STDERR, 0, b"a\r"), Record(Kind.STDERR, 0, b"\nb"))
    )
    assert joined == "a\r\nb"


@given(st.lists(st.integers(0, 5_000), max_size=60))
def test_rounding_does_not_add_up(steps_us: list[int]) -> None:
    """After any number of events the sum of the intervals is the time, to a millisecond."""
    time_us, given_records = 0, []
    for step_us in steps_us:
        time_us += step_us
        given_records.append(Record(Kind.TTY, time_us, b"x"))
    total_s = sum(interval for interval, _, _ in events(*given_records))
    assert abs(total_s * 1_000_000 - time_us) <= 501


def test_time_that_goes_back_is_no_time() -> None:
    assert [step for step, _, _ in events(Record(4, 5_000, b"a"), Record(4, 3_000, b"b"))] == [
        0.005,
        0.0,
    ]


@given(st.text(max_size=60), st.integers(1, 5))
def test_characters_are_never_cut(text: str, size: int) -> None:
    """However the output was cut into records; each event's text is whole by itself."""
    data = text.encode("utf-8", "replace")
    pieces = [Record(Kind.TTY, 0, data[at : at + size]) for at in range(0, len(data), size)]
    assert "".join(shown for _, _, shown in events(*pieces)) == data.decode()


def test_streams_do_not_mend_each_other() -> None:
    """Half a character on one, another on the other: two replacements, no character."""
    half, rest = "é".encode()[:1], "é".encode()[1:]
    found = events(Record(Kind.STDOUT, 0, half), Record(Kind.STDERR, 0, rest))
    assert "".join(shown for _, _, shown in found) == "\ufffd\ufffd"


def test_unfinished_character_comes_before_the_exit() -> None:
    """A player ends at the exit."""
    found = events(
        Record(Kind.TTY, 0, b"\xc3"), Record(Kind.EXITED, 1, records.exited(0, 0, False))
    )
    assert [(code, data) for _, code, data in found] == [("o", "\ufffd"), ("x", "0")]
