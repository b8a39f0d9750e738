"""``ptyshipper logs``: what a session printed, as lines, as JSON, or as its exact bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ptyshipper.printed.lines import Line, LineAssembler
from ptyshipper.printed.losses import Lost, lost
from ptyshipper.printed.shown import Clock, json_line, text_line
from ptyshipper.records import OUTPUT_KINDS, STREAM_NAMES, Kind, Record
from ptyshipper.view.client import Session
from ptyshipper.view.output import ends_quietly, is_person, tell, wants_colours
from ptyshipper.view.source import find


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
        session: an id, its first digits (4 at least), ``latest``, or a recording's path.
        follow: go on until the session has ended.
        timestamps: each line with its time, RFC 3339 in UTC.
        stream: ``stdout``, ``stderr`` or ``tty`` alone.
        raw: the program's bytes, exactly. What is missing is told on stderr.
        as_json: an object a line: ``time``, ``stream``, ``text`` (U+FFFD for what is no UTF-8) and
            ``complete``, or ``time`` and ``lost`` (``bytes``, ``cause``).

    Returns:
        0; with ``raw``, 1 where bytes of the program are missing.

    Raises:
        BackendError, RecordingError, UsageError: no backend, no such session.
    """
    source = find(data_dir, session)
    items = source.records(follow=follow)
    out = sys.stdout.buffer
    if raw:
        status = _copy(items, stream, out, flush=follow)
        tell(source.notice)
        return status
    clock = Clock(source.session)
    show = _Shower(as_json, timestamps, clock)
    for complete in complete_lines(items, clock, stream):
        out.writelines(show(each) for each in complete)
        if follow and complete:
            out.flush()
    out.flush()
    tell(source.notice)
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
