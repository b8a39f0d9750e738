"""Two sessions beside each other: how they ended, what they printed, how long they took. Pure.

Output is compared stream by stream, line by line, so both may be of any length. Nothing is masked
unless that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ptyshipper.records import (
    OUTPUT_KINDS,
    STREAM_NAMES,
    Exited,
    Kind,
    Record,
    read_exited,
    read_gap,
)
from ptyshipper.repro.timeline import TOLERANCE_US, Deviation, Moment, deviations, moment_of

MAX_LINE_BYTES = 65_536
"""A longer line is compared in pieces."""

MAX_MOMENTS = 10_000

Records = Callable[[], Iterable[Record]]
"""Gives a session's records, from the first one, each time that it is asked."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a stream differs first.

    ``line`` is counted from 1, ``offset`` and ``column`` in bytes from 0 (of the stream, of the line):
    where ``--ignore`` took something out, where the line begins. ``recorded`` and ``repeated`` are the
    lines, None where that side had ended.
    """

    line: int
    offset: int
    column: int
    recorded: bytes | None
    repeated: bytes | None


@dataclass(frozen=True, slots=True)
class StreamComparison:
    """What both sides printed on one stream; ``difference`` is None where it is the same."""

    name: str
    recorded_bytes: int
    repeated_bytes: int
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of one side without looking at its output; ``exited`` is None where it was cut."""

    exited: Exited | None
    exited_us: int
    lost_bytes: int
    streams: frozenset[str]
    moments: Sequence[Moment]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole of it."""

    recorded: Summary
    repeated: Summary
    streams: tuple[StreamComparison, ...]
    deviations: tuple[Deviation, ...]
    ignored: tuple[str, ...]

    @property
    def status_differs(self) -> bool:
        """Whether both ended, and not alike."""
        one, other = self.recorded.exited, self.repeated.exited
        return None not in (one, other) and _ending(one) != _ending(other)

    @property
    def late(self) -> tuple[Deviation, ...]:
        """The moments that were not repeated, or not in time."""
        return tuple(
            one for one in self.deviations if one.late_us is None or abs(one.late_us) > TOLERANCE_US
        )

    @property
    def differs(self) -> bool:
        """In its exit status or its output; timing alone is no difference."""
        return self.status_differs or any(one.difference for one in self.streams)

    def as_json(self) -> dict[str, Any]:
        """For a program: ``equal``, ``exit``, ``streams``, ``seconds``, ``timeline``. Lines and columns are
        counted from 1."""
        return {
            "equal": not self.differs,
            "exit": {
                "equal": not self.status_differs,
                "recorded": _exit_json(self.recorded.exited),
                "repeated": _exit_json(self.repeated.exited),
            },
            "streams": {one.name: _stream_json(one) for one in self.streams},
            "lost_bytes": self.recorded.lost_bytes,
            "ignored": list(self.ignored),
            "seconds": {
                "recorded": self.recorded.exited_us / 1e6,
                "repeated": self.repeated.exited_us / 1e6,
            },
            "timeline": [
                {
                    "at_s": one.moment.time_us / 1e6,
                    "what": str(one.moment.what),
                    "late_s": None if one.late_us is None else one.late_us / 1e6,
                }
                for one in self.deviations
            ],
        }


def summarize(records: Iterable[Record]) -> Summary:
    """Look through one side."""
    exited: Exited | None = None
    last_us = lost_bytes = 0
    streams = set()
    moments: list[Moment] = []
    for record in records:
        last_us = record.time_us
        if record.kind in OUTPUT_KINDS:
            streams.add(STREAM_NAMES[Kind(record.kind)])
        elif record.kind == Kind.EXITED:
            exited = read_exited(record.payload)
        elif record.kind == Kind.GAP:
            lost_bytes += read_gap(record.payload).lost_bytes
        elif (moment := moment_of(record)) is not None and len(moments) < MAX_MOMENTS:
            moments.append(moment)
    return Summary(exited, last_us, lost_bytes, frozenset(streams), moments)


def compare(
    recorded: Records, repeated: Records, ignore: Sequence[str] = (), *, timeline: bool = False
) -> Comparison:
    """Compare two sessions.

    Args:
        ignore: patterns; what they match is left out of each line of both sides.
        timeline: whether moments were to be repeated.

    Raises:
        re.error: a pattern is none.
    """
    leave_out = re.compile("|".join(f"(?:{pattern})" for pattern in ignore)) if ignore else None
    one, other = summarize(recorded()), summarize(repeated())
    names = [name for name in STREAM_NAMES.values() if name in one.streams | other.streams]
    streams = tuple(_compare_stream(name, recorded, repeated, leave_out) for name in names)
    late = deviations(one.moments, other.moments) if timeline else []
    return Comparison(one, other, streams, tuple(late), tuple(ignore))


def _compare_stream(
    name: str, recorded: Records, repeated: Records, leave_out: re.Pattern[str] | None
) -> StreamComparison:
    recorded_bytes = repeated_bytes = 0
    difference: Difference | None = None
    pairs = zip_longest(_lines(recorded(), name), _lines(repeated(), name))
    for number, (one, other) in enumerate(pairs, start=1):
        if difference is None and _shown(one, leave_out) != _shown(other, leave_out):
            column = 0 if leave_out else _common(one or b"", other or b"")
            difference = Difference(number, recorded_bytes + column, column, one, other)
        recorded_bytes += len(one or b"")
        repeated_bytes += len(other or b"")
    return StreamComparison(name, recorded_bytes, repeated_bytes, difference)


def _shown(line: bytes | None, leave_out: re.Pattern[str] | None) -> bytes | str | None:
    if line is None or leave_out is None:
        return line
    return leave_out.sub("", line.decode("utf-8", "surrogateescape"))


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _lines(records: Iterable[Record], name: str) -> Iterator[bytes]:
    """A stream's lines with their newlines, the last perhaps without."""
    begun = b""
    for record in records:
        if record.kind not in OUTPUT_KINDS or STREAM_NAMES[Kind(record.kind)] != name:
            continue
        *whole, begun = (begun + record.payload).split(b"\n")
        for line in whole:
            yield from filter(None, _pieces(line + b"\n"))
        *pieces, begun = _pieces(begun)
        yield from pieces
    if begun:
        yield begun


def _pieces(line: bytes) -> list[bytes]:
    """At the same places, however the records cut the line; the last may be empty."""
    return [line[at : at + MAX_LINE_BYTES] for at in range(0, len(line) + 1, MAX_LINE_BYTES)]


def _ending(exited: Exited | None) -> tuple[int, int]:
    assert exited is not None
    return (0, exited.signal) if exited.signal else (exited.code, 0)


def _exit_json(exited: Exited | None) -> dict[str, int] | None:
    if exited is None:
        return None
    return {"signal": exited.signal} if exited.signal else {"code": exited.code}


def _stream_json(one: StreamComparison) -> dict[str, Any]:
    value: dict[str, Any] = {
        "equal": one.difference is None,
        "recorded_bytes": one.recorded_bytes,
        "repeated_bytes": one.repeated_bytes,
    }
    if one.difference is not None:
        first = one.difference
        value["first"] = {
            "line": first.line,
            "offset": first.offset,
            "column": first.column + 1,
            "recorded": _text(first.recorded),
            "repeated": _text(first.repeated),
        }
    return value


def _text(line: bytes | None) -> str | None:
    return None if line is None else line.decode("utf-8", "replace")
