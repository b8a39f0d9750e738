"""Lines in the two forms in which readers take them away: text, and a JSON object a line. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ptyshipper.printed import text
from ptyshipper.printed.cells import settled
from ptyshipper.printed.lines import Line
from ptyshipper.printed.losses import Lost
from ptyshipper.records import Kind, Record, read_started

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_US = 10**17
"""About 3,000 years: two of them behind 1970 are still a date."""


class Clock:
    """The wall clock of a session: when it started, by its own account."""

    def __init__(self, session: dict[str, Any]) -> None:
        self._start = datetime.fromisoformat(session["started_at"])

    def see(self, record: Record) -> None:
        """STARTED tells the time to the microsecond."""
        if record.kind == Kind.STARTED:
            wall_us = read_started(record.payload).wall_us
            self._start = _EPOCH + timedelta(microseconds=min(wall_us, _MAX_US))

    def rfc3339(self, time_us: int) -> str:
        moment = self._start + timedelta(microseconds=min(time_us, _MAX_US))
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(item: Line | Lost, *, person: bool, colours: bool) -> str:
    """A line to read, safe on any terminal: also a pipe's other end may be one.

    What was written over is shown as it was in the end, where a terminal was written to. A program
    that wrote to a pipe may mean its returns: only a ``person`` gets these settled as well.
    """
    if isinstance(item, Lost):
        notice = f"--- {item} ---"
        return f"{text.DIM}{notice}{text.RESET}" if colours else notice
    shown = text.decoded(item.content.rstrip(b"\r"))
    if person or item.stream == "tty":
        shown = settled(shown)
    return text.visible(shown, colours=colours)


def json_line(item: Line | Lost, clock: Clock) -> bytes:
    """A line as a JSON object and a newline."""
    value: dict[str, Any] = {"time": clock.rfc3339(item.time_us)}
    if isinstance(item, Lost):
        value["lost"] = {"bytes": item.lost_bytes, "cause": item.cause}
    else:
        value |= {
            "stream": item.stream,
            "text": text.decoded(item.content),
            "complete": item.complete,
        }
    return text.json_text(value).encode() + b"\n"
