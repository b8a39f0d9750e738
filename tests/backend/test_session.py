"""What is known of a session, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.digest import NO_LINES, digest
from ptyshipper.backend.session import (
    CUT_AFTER_US,
    QUIET_AFTER_US,
    Chunk,
    Session,
    merged,
    read_description,
    records_from,
    rfc3339,
    session_id_of,
)
from ptyshipper.errors import ProtocolError
from ptyshipper.records import GapCause, Kind, encode
from ptyshipper.wire.closing import CloseCode
from tests.support.server import describe, exit_record, output, start_record

FIELDS_OF_THE_API = [
    "id",
    "app_id",
    "deployment_id",
    "type",
    "hostname",
    "command",
    "command_base64",
    "tty",
    "started_at",
    "ended_at",
    "state",
    "exit_code",
    "exit_signal",
    "first_offset",
    "bytes",
    "entries",
    "gaps",
    "lost_bytes",
    "cols",
    "rows",
]


def session(*batches: bytes, **description: Any) -> Session:
    made = Session(bytes(range(16)), read_description(describe(**description)))
    for batch in batches:
        made.append(digest(batch, made.next_offset))
    return made


def test_summary_of_a_running_session() -> None:
    """Every field, in the order of the documentation."""
    running = session(start_record(120, 40) + output(b"hi\n"))
    running.connected = True
    summary = running.summary(now_us=0)
    assert list(summary) == FIELDS_OF_THE_API
    assert summary["id"] == "000102030405060708090a0b0c0d0e0f"
    assert (summary["state"], summary["ended_at"], summary["bytes"]) == ("running", None, 3)
    assert (summary["cols"], summary["rows"]) == (120, 40)
    assert summary["started_at"] == "2023-11-14T22:13:20.000Z"


def test_exit_by_code_and_by_signal() -> None:
    """One of both is null; the end is the start plus the record's time."""
    by_code = session(exit_record(3)).summary(0)
    assert (by_code["state"], by_code["exit_code"], by_code["exit_signal"]) == ("exited", 3, None)
    assert by_code["ended_at"] == "2023-11-14T22:13:22.500Z"
    by_signal = session(exit_record(0, 9)).summary(0)
    assert (by_signal["exit_code"], by_signal["exit_signal"]) == (None, 9)


def test_session_of_posts_is_quiet_after_a_while() -> None:
    """It has no connection that could be cut off, and no end that could be told."""
    posted = session(output(b"x"))
    posted.is_posted, posted.last_seen_us = True, 1_000_000
    assert posted.state(CUT_AFTER_US * 2) == "running"
    assert posted.state(posted.last_seen_us + QUIET_AFTER_US) == "running"
    assert posted.state(posted.last_seen_us + QUIET_AFTER_US + 1) == "quiet"
    assert posted.summary(2 * QUIET_AFTER_US)["ended_at"] == "1970-01-01T00:00:01.000Z"


def test_merged_chunk_keeps_the_ids_of_its_entries() -> None:
    """Also merged again; a part that completed no entry leaves no trace in them."""
    parts = [
        Chunk(0, 10, 1, 2, 5, 7, NO_LINES, b"a", 100),
        Chunk(10, 20, 3, 4, 7, 7, (10, -1, -1), b"b", 200),
        Chunk(20, 30, 5, 9, 7, 10, (10, -1, -1), b"c", 300),
        Chunk(30, 40, 6, 8, 10, 11, NO_LINES, b"d", 400),
    ]
    ids = [100, 101, 300, 301, 302, 400]
    for chunk in (merged(parts), merged([merged(parts[:2]), merged(parts[2:])])):
        assert chunk[:8] == (0, 40, 1, 9, 5, 11, NO_LINES, b"abcd")
        assert [chunk.arrival_of(entry) for entry in range(5, 11)] == ids
    assert parts[2].arrival_of(9) == 302


@pytest.mark.parametrize(
    ("word", "text", "encoded"),
    [
        ("caf\u00e9", "caf\u00e9", None),
        ("\udcff", "?", ["/w=="]),  # the byte 0xff, as Python has it in an argv
        ("\ud800", "?", ["Pw=="]),  # stands for nothing
    ],
)
def test_command_is_text_and_bytes_beside_it_where_it_is_none(
    word: str, text: str, encoded: list[str] | None
) -> None:
    summary = session(command=[word]).summary(0)
    assert (summary["command"], summary["command_base64"]) == ([text], encoded)


def test_hostname_is_text_that_every_database_takes() -> None:
    assert read_description(describe(hostname="a\0b\ud800")).hostname == "a\ufffdb?"


def test_session_without_a_connection_is_cut_off_after_a_while() -> None:
    """Seen lately it is running; later its end is when it was seen last."""
    silent = session(output(b"x"))
    silent.last_seen_us = 1_000_000
    assert silent.summary(1_000_000 + CUT_AFTER_US)["state"] == "running"
    cut = silent.summary(1_000_001 + CUT_AFTER_US)
    assert (cut["state"], cut["ended_at"]) == ("cut", "1970-01-01T00:00:01.000Z")


def test_cut_session_that_goes_on_is_not_cut() -> None:
    """A record after the farewell of a successor takes it back; an exit wins over both."""
    cut = session(output(b"x"))
    cut.cut = cut.connected = True
    assert cut.state(0) == "cut"
    cut.append(digest(output(b"y"), cut.next_offset))
    assert cut.state(0) == "running"
    cut.append(digest(exit_record(), cut.next_offset))
    cut.cut = True
    assert cut.state(0) == "exited"


def test_gaps_and_losses_add_up_without_overflowing() -> None:
    """Whatever a session claims to have lost, a column can hold it."""
    huge = 2**62
    gap = encode(Kind.GAP, 1, records.gap(huge - 1, huge - 1, GapCause.OVERFLOW))
    lossy = session(gap, gap)
    assert (lossy.gaps, lossy.lost_bytes) == (2, 2**63 - 2 - 0)
    lossy.append(digest(b"", lossy.next_offset)._replace(lost_bytes=huge))
    assert lossy.lost_bytes == 2**63 - 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"deployment_id": "7"},
        {"deployment_id": True},
        {"deployment_id": 2**63},
        {"type": "other"},
        {"type": ["build"]},
        {"hostname": None},
        {"hostname": "x" * 256},
        {"command": "echo"},
        {"command": ["echo", 1]},
        {"tty": 1},
        {"started_at_us": -1},
        {"started_at_us": 1.5},
        {"started_at_us": True},
        {"started_at_us": 253_402_300_800_000_000},
        {"client": 3},
    ],
)
def test_ill_typed_description_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_description(describe(**wrong))
    assert caught.value.code == CloseCode.MALFORMED


@pytest.mark.parametrize("key", sorted(describe()))
def test_description_with_a_missing_key_is_refused(key: str) -> None:
    fields = describe()
    del fields[key]
    with pytest.raises(ProtocolError):
        read_description(fields)


def test_description_without_a_deployment_and_with_more_keys_is_read() -> None:
    """A session of a laptop has none; unknown keys are another version's."""
    about = read_description(describe(deployment_id=None, colour="red"))
    assert about.deployment_id is None


def test_half_a_surrogate_pair_in_a_host_name_is_replaced() -> None:
    """JSON can escape one, no database takes it."""
    assert read_description(describe(hostname="a\ud800b")).hostname == "a?b"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=10), st.integers(0, 700))
def test_records_from_an_offset_begin_at_a_whole_record(sizes: list[int], wanted: int) -> None:
    """At the first record at or behind the offset, wherever that lies."""
    parts = [output(b"x" * size) for size in sizes]
    offset, rest = records_from(b"".join(parts), 100, wanted)
    starts = [100 + sum(map(len, parts[:index])) for index in range(len(parts) + 1)]
    assert offset == min((start for start in starts if start >= wanted), default=starts[-1])
    assert rest == b"".join(parts)[offset - 100 :]


def test_records_from_inside_a_gap_begin_behind_it() -> None:
    gap = encode(Kind.GAP, 1, records.gap(1_000, 900, GapCause.OVERFLOW))
    assert records_from(gap + output(b"x"), 0, 500) == (1_000, output(b"x"))


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "\u0660" * 32])
def test_what_is_no_session_id(text: str) -> None:
    assert session_id_of(text) is None


def test_times_are_told_in_utc_with_milliseconds() -> None:
    """Cut, not rounded, and never beyond what RFC 3339 can tell."""
    assert rfc3339(1_999) == "1970-01-01T00:00:00.001Z"
    assert rfc3339(2**63) == "9999-12-31T23:59:59.999Z"
