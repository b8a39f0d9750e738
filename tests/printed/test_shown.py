"""Lines as text and as JSON; the session's own clock."""

from __future__ import annotations

import json

import pytest

from ptyshipper import records
from ptyshipper.printed.lines import Line
from ptyshipper.printed.losses import Lost
from ptyshipper.printed.shown import Clock, json_line, text_line
from ptyshipper.records import Kind, Record

SESSION = {"started_at": "2023-11-14T22:13:20.500Z"}


def test_clock_is_the_session_s_until_its_first_record_tells() -> None:
    clock = Clock(SESSION)
    assert clock.rfc3339(1_500) == "2023-11-14T22:13:20.501Z"
    clock.see(Record(Kind.STARTED, 0, records.started(1_700_000_000_000_000, 0, 0, 0)))
    assert clock.rfc3339(1_500) == "2023-11-14T22:13:20.001Z"


def test_clock_takes_any_time() -> None:
    """A hostile session tells of one that no calendar has."""
    clock = Clock(SESSION)
    clock.see(Record(Kind.STARTED, 0, records.started(2**64 - 1, 0, 0, 0)))
    assert clock.rfc3339(2**63).endswith("Z")


@pytest.mark.parametrize(
    ("stream", "person", "shown"),
    [("tty", False, "100%"), ("stdout", True, "100%"), ("stdout", False, "10%^M100%")],
)
def test_what_was_written_over(stream: str, person: bool, shown: str) -> None:
    """Is gone where a terminal was written to, or where a person looks."""
    line = Line(0, stream, b"10%\r100%\r", True)
    assert text_line(line, person=person, colours=False) == shown


def test_gap_is_set_apart() -> None:
    gap = Lost(5_000, 40, "the spool was full")
    assert (
        text_line(gap, person=False, colours=False) == "--- 40 bytes lost: the spool was full ---"
    )
    assert json.loads(json_line(gap, Clock(SESSION))) == {
        "time": "2023-11-14T22:13:20.505Z",
        "lost": {"bytes": 40, "cause": "the spool was full"},
    }
