"""Records to lines, for each stream on its own. Pure.

Output is cut into records anywhere, so a line may span many; its time is that of its first byte.
"""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.printed.losses import Lost, lost
from ptyshipper.records import OUTPUT_KINDS, STREAM_NAMES, Kind, Record

MAX_LINE_BYTES = 1 << 20
"""A longer line comes in several pieces, so that a program which prints no newline fills no memory."""


class Line(NamedTuple):
    """A line without its newline; ``complete`` is False for a piece whose newline is yet to come."""

    time_us: int
    stream: str
    content: bytes
    complete: bool


class _Partial:
    """The line that a stream has begun."""

    __slots__ = ("parts", "size", "time_us")

    def __init__(self, time_us: int) -> None:
        self.time_us = time_us
        self.parts: list[bytes] = []
        self.size = 0


class LineAssembler:
    """Takes the records of one session in order and gives the lines that they complete.

    Args:
        stream: the only stream that counts (``stdout``, ``stderr``, ``tty``), or None for all.
    """

    def __init__(self, stream: str | None = None) -> None:
        self._stream = stream
        self._partial: dict[str, _Partial] = {}

    def feed(self, record: Record) -> list[Line | Lost]:
        """What this record completes; a gap ends the lines that were begun before it."""
        if record.kind in OUTPUT_KINDS:
            name = STREAM_NAMES[Kind(record.kind)]
            if self._stream in (None, name):
                return self._output(name, record.time_us, record.payload)
        elif record.kind == Kind.GAP:
            return [*self.finish(), lost(record)]
        return []

    def _output(self, name: str, time_us: int, content: bytes) -> list[Line | Lost]:
        *whole, rest = content.split(b"\n")
        lines: list[Line | Lost] = []
        for piece in whole:
            begun = self._partial.pop(name, None)
            if begun is None:
                lines.append(Line(time_us, name, piece, True))
            else:
                begun.parts.append(piece)
                lines.append(Line(begun.time_us, name, b"".join(begun.parts), True))
        if rest:
            begun = self._partial.setdefault(name, _Partial(time_us))
            begun.parts.append(rest)
            begun.size += len(rest)
            if begun.size >= MAX_LINE_BYTES:
                lines.append(self._piece(name))
        return lines

    def _piece(self, name: str) -> Line:
        begun = self._partial.pop(name)
        return Line(begun.time_us, name, b"".join(begun.parts), False)

    def finish(self) -> list[Line | Lost]:
        """The lines that were begun and never ended, in the order that they began."""
        begun = sorted(self._partial, key=lambda name: self._partial[name].time_us)
        return [self._piece(name) for name in begun]
