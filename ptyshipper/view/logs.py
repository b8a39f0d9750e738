"""``ptyshipper logs``: what a session printed, as lines, as JSON, or as its exact bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from ptyshipper.printed.cells import settled
from ptyshipper.printed.losses import Lost, lost
from ptyshipper.records import OUTPUT_KINDS, STREAM_NAMES, Kind, Record, read_started
from ptyshipper.view import text
from ptyshipper.view.client import Backend, Session
from ptyshipper.view.lines import Line, LineAssembler
from ptyshipper.view.output import ends_quietly, is_person, wants_colours

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_US = 10**17
"""About 3,000 years: two of them behind 1970 are still a date."""


@ends_quietly
def logs(
    data_dir: Path,
    session: str,
    *,
    follow: bool = False,
    timestamps: bool = False,
    stream: str | None = None,
    raw: bool = False,
    as_json: bool = False,
) -> int:
    """Write a session's output to stdout.

    Args:
        session: an id, its first digits (4 at least), or ``latest``.
        follow: go on until the session has ended.
        timestamps: each line with its time, RFC 3339 in UTC.
        stream: ``stdout``, ``stderr`` or ``tty`` alone.
        raw: the program's bytes, exactly. What is missing is told on stderr.
        as_json: an object a line: ``time``, ``stream``, ``text`` (U+FFFD for what is no UTF-8) and
            ``complete``, or ``time`` and ``lost`` (``bytes``, ``cause``).

    Returns:
        0; with ``raw``, 1 where bytes of the program are missing.

    Raises:
        BackendError, UsageError: no backend, no such session.
    """
    backend = Backend(data_dir)
    found = backend.find(session)
    items = backend.records(found["id"], follow=follow)
    out = sys.stdout.buffer
    if raw:
        return _copy(items, stream, out, flush=follow)
    clock = Clock(found)
    show = _Shower(as_json, timestamps, clock)
    for complete in complete_lines(items, clock, stream):
        out.writelines(show(each) for each in complete)
        if follow and complete:
            out.flush()
    return 0


def _copy(
    items: Iterator[Record | Session], stream: str | None, out: BinaryIO, *, flush: bool
) -> int:
    """The payloads as they are; 1 where some are missing."""
    status = 0
    for item in items:
        if not isinstance(item, Record):
            break
        if item.kind in OUTPUT_KINDS and stream in (None, STREAM_NAMES[Kind(item.kind)]):
            out.write(item.payload)
            if flush:
                out.flush()
        elif item.kind == Kind.GAP:
            out.flush()
            print(f"ptyshipper: {lost(item)}", file=sys.stderr)
            status = 1
    out.flush()
    return status


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


def complete_lines(
    items: Iterator[Record | Session], clock: Clock, stream: str | None = None
) -> Iterator[list[Line | Lost]]:
    """What each record completes, and at the end what was never completed; sets ``clock``."""
    lines = LineAssembler(stream)
    for item in items:
        if isinstance(item, Record):
            clock.see(item)
            yield lines.feed(item)
        else:
            yield lines.finish()


class _Shower:
    """A line, the way that was asked for."""

    def __init__(self, as_json: bool, timestamps: bool, clock: Clock) -> None:
        self._as_json = as_json
        self._timestamps = timestamps
        self._clock = clock
        self._on_terminal = is_person(sys.stdout)
        self._colours = wants_colours(sys.stdout)

    def __call__(self, item: Line | Lost) -> bytes:
        if self._as_json:
            return json_line(item, self._clock)
        stamp = f"{self._clock.rfc3339(item.time_us)} " if self._timestamps else ""
        shown = text_line(item, person=self._on_terminal, colours=self._colours)
        return f"{stamp}{shown}\n".encode()


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
