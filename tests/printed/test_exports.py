"""Every form of the table: a session of every kind of record, to its last unfinished line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ptyshipper import records
from ptyshipper.printed.exports import FORMATS
from ptyshipper.records import GapCause, Kind, Record

SESSION: dict[str, Any] = {"command": ["sh"], "started_at": "2023-11-14T22:13:20.500Z"}
RECORDS = [
    Record(Kind.STARTED, 0, records.started(1_700_000_000_000_000, 80, 24, 7)),
    Record(Kind.TTY, 1_234_567, b"10%\r\x1b[1m100%\r\n"),
    Record(Kind.GAP, 2_000_000, records.gap(500, 400, GapCause.OVERFLOW)),
    Record(Kind.STDERR, 2_000_100, b"x\nprompt"),
]


def exported(name: str) -> str:
    form = FORMATS[name].make(SESSION)
    parts = [part for record in RECORDS for part in form.feed(record)]
    return form.header() + "".join(parts) + form.finish()


def test_text() -> None:
    assert exported("text") == "100%\n--- 400 bytes lost: the spool was full ---\nx\nprompt\n"


def test_jsonl() -> None:
    """The clock is the STARTED record's."""
    line, gap, _, rest = map(json.loads, exported("jsonl").splitlines())
    assert line["time"] == "2023-11-14T22:13:21.234Z"
    assert line["text"] == "10%\r\x1b[1m100%\r"
    assert gap["lost"] == {"bytes": 400, "cause": "the spool was full"}
    assert (rest["text"], rest["complete"]) == ("prompt", False)


@pytest.mark.parametrize(
    ("name", "times"), [("cast", [1.235, 0.765, 0.0]), ("cast2", [1.234567, 2.0, 2.0001])]
)
def test_casts(name: str, times: list[float]) -> None:
    """The same events; version 3 counts from the one before, version 2 from the beginning."""
    header, *events = map(json.loads, exported(name).splitlines())
    assert header["version"] == (2 if name == "cast2" else 3)
    assert [event[0] for event in events] == times
    assert [event[1:] for event in events] == [
        ["o", "10%\r\x1b[1m100%\r\n"],
        ["m", "400 bytes lost: the spool was full"],
        ["o", "x\r\nprompt"],
    ]


def test_older_cast_has_its_own_header() -> None:
    header = json.loads(FORMATS["cast2"].make({**SESSION, "cols": 5_000, "rows": 50}).header())
    assert (header["width"], header["height"]) == (1_000, 50)
    assert "term" not in header
