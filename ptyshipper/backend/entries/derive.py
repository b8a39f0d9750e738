"""Chunks to entries. Pure.

The text of a line is a matter of its own bytes, not of how they were cut or where reading began: UTF-8,
with U+FFFD for what is none, without the return before its newline. On a terminal it is what was there in
the end, with its colours and no other escapes (``printed.terminal_text``); from a pipe it is as it came.

A line of more than ``MAX_LINE_BYTES`` is cut to its beginning; one of more than ``SETTLED_BYTES`` that was
written over, to what was written last. So a line of a gigabyte costs no more than others.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ptyshipper.backend.digest import NO_LINE
from ptyshipper.backend.entries.entry import EVENTS, STREAMS, Entry
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.session import MAX_INTEGER, Chunk, records_from
from ptyshipper.printed.terminal_text import readable
from ptyshipper.records import HEADER_BYTES, Kind, Record, read_gap, walk

MAX_LINE_BYTES = 65_536
"""More than a record holds: only a line of several records is ever cut."""
SETTLED_BYTES = 16_384
"""What it takes to find out what is left of so many bytes is 15 ms at worst (measured)."""
PAUSE_BYTES = 65_536
"""After so many bytes of records without an entry there is a pause."""

_STDOUT, _TTY = int(Kind.STDOUT), int(Kind.TTY)
_STARTED, _EXITED, _GAP = int(Kind.STARTED), int(Kind.EXITED), int(Kind.GAP)
_TERMINAL = _TTY - _STDOUT
_MOVES = re.compile(rb"[\r\x08]|\x1b\[(?:[0-2]?K|[0-9]{0,5}[CDG])")
_NOT_AS_WRITTEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\r(?!\n|\Z)|\x1b(?!\[[0-9;:]*m)"
)
"""With one of these, what a terminal shows need not be in what was written to it."""


class Wanted(NamedTuple):
    """Which entries are asked for: from ``from_number`` on, of one stream (events are of all; of the stream
    ``EVENTS_ALONE`` there are no lines), those that hold ``needle``. What is not asked for is counted,
    not made."""

    from_number: int = 0
    stream: str | None = None
    needle: Needle | None = None


EVERYTHING = Wanted()
EVENTS_ALONE = "none"


def _text(data: bytes | bytearray, size_bytes: int) -> str:
    """``data`` are the first bytes of so many; a character that the cut has halved is left out."""
    return codecs.utf_8_decode(data, "replace", size_bytes == len(data))[0]


def _piped(head: bytes | bytearray, size_bytes: int) -> tuple[str, bool]:
    """Text of a line of so many bytes, and whether that is not all of it."""
    return _text(head, size_bytes).rstrip("\r"), size_bytes > len(head)


def _shown(head: bytes | bytearray, recent: bytes | bytearray, size_bytes: int) -> tuple[str, bool]:
    """The same of a line on a terminal, of which ``recent`` ends with the last ``SETTLED_BYTES``."""
    if size_bytes > SETTLED_BYTES:
        written_last = recent[-SETTLED_BYTES:].rstrip(b"\r")
        returned = written_last.find(b"\r")
        if returned >= 0:
            text = written_last[returned:].decode("utf-8", "replace")
            return readable(text, colours=True), True
        if _MOVES.search(head):
            head = head[:SETTLED_BYTES]
    return readable(_text(head, size_bytes), colours=True), size_bytes > len(head)


class _Open:
    """A line whose newline is yet to come.

    ``head`` are its first bytes, ``recent`` ends with its last ``SETTLED_BYTES`` where it is a terminal's.
    ``is_headless``: it began before what was read.
    """

    __slots__ = (
        "begun_offset",
        "head",
        "is_headless",
        "is_terminal",
        "recent",
        "size_bytes",
        "time_us",
    )

    def __init__(
        self, source: int, begun_offset: int, time_us: int, *, is_headless: bool = False
    ) -> None:
        self.begun_offset = begun_offset
        self.time_us = time_us
        self.is_headless = is_headless
        self.is_terminal = source == _TERMINAL
        self.size_bytes = 0
        self.head = bytearray()
        self.recent = bytearray()

    def add(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if len(self.head) < MAX_LINE_BYTES:
            self.head += data[: MAX_LINE_BYTES - len(self.head)]
        if self.is_terminal:
            self.recent += data
            if len(self.recent) > 4 * SETTLED_BYTES:
                del self.recent[:-SETTLED_BYTES]

    def text(self) -> tuple[str, bool]:
        """Its text as far as it has come, and whether that is not all of it."""
        if self.is_terminal:
            text, is_cut = _shown(self.head, self.recent, self.size_bytes)
        else:
            text, is_cut = _piped(self.head, self.size_bytes)
        return text, is_cut or self.is_headless


class Derivation:
    """Takes a session's chunks, in order, and gives the entries that they complete.

    ``offset`` and ``number`` are those of what comes next. It may begin at any chunk; of the lines that
    are open there it knows what ``recall`` tells it.
    """

    def __init__(self, wanted: Wanted = EVERYTHING) -> None:
        self.wanted = wanted
        self.offset = -1
        self.number = 0
        self._open: list[_Open | None] = [None] * len(STREAMS)
        self._ids: list[tuple[int, int]] = []

    def recall(self, source: int, begun_offset: int, time_us: int, head: bytes) -> None:
        """What is known of a line that is open where reading begins: its time and first bytes; what
        lies between them and there is not."""
        line = self._open[source] = _Open(source, begun_offset, time_us, is_headless=True)
        line.add(head)

    def feed(self, chunk: Chunk) -> Iterator[Entry | None]:
        """The entries that ``chunk`` completes; None now and then, where a caller may pause.

        A chunk that begins before ``offset`` was merged meanwhile: what is new in it is read. Any other
        has to follow, or reading begins anew with it.
        """
        records, offset = chunk.records, chunk.first_offset
        self._ids = chunk.fragments()
        if offset < self.offset < chunk.end_offset:
            offset, records = records_from(records, offset, self.offset)
        else:
            self._begin(chunk)
        paused_at = 0
        for kind, time_us, begin, end in walk(records):
            if _STDOUT <= kind <= _TTY:
                yield from self._output(kind - _STDOUT, time_us, offset, records[begin:end])
            elif kind != _STARTED:
                yield from self._event(Record(kind, time_us, records[begin:end]))
            if kind == _GAP:
                offset += read_gap(records[begin:end]).span
            else:
                offset += HEADER_BYTES + end - begin
            if end - paused_at >= PAUSE_BYTES:
                paused_at = end
                yield None
        # Also where the disk has damaged the chunk: the next one knows its place.
        self.offset, self.number = chunk.end_offset, chunk.end_entry

    def unfinished(self) -> list[Entry]:
        """The lines that are open, as far as they have come, in the order in which they began."""
        found = [
            self._line(None, source, line)
            for source, line in self._begun()
            if self.wanted.stream in (None, STREAMS[source])
        ]
        needle = self.wanted.needle
        return [entry for entry in found if needle is None or needle.is_in(entry.text)]

    @property
    def begun_us(self) -> int | None:
        """When the oldest of the lines that are open began; None if there is none."""
        return min((line.time_us for _, line in self._begun()), default=None)

    def _begin(self, chunk: Chunk) -> None:
        self.number = chunk.first_entry
        for source, begun_offset in enumerate(chunk.open_lines):
            line = self._open[source]
            if begun_offset == NO_LINE:
                self._open[source] = None
            elif line is None or line.begun_offset != begun_offset:
                self._open[source] = _Open(
                    source, begun_offset, chunk.first_time_us, is_headless=True
                )

    def _begun(self) -> list[tuple[int, _Open]]:
        lines = [(source, line) for source, line in enumerate(self._open) if line is not None]
        return sorted(lines, key=lambda each: each[1].begun_offset)

    def _output(
        self, source: int, time_us: int, offset: int, payload: bytes
    ) -> Iterator[Entry | None]:
        line = self._open[source]
        at, last = 0, payload.rfind(b"\n")
        if line is not None:
            newline = payload.find(b"\n")
            line.add(payload[:newline] if newline >= 0 else payload)
            if newline < 0:
                return
            yield from self._complete(source, line, time_us)
            at = newline + 1
        if at <= last:
            yield from self._whole_lines(source, time_us, payload[at:last])
        if last + 1 < len(payload):
            line = self._open[source] = _Open(source, offset, time_us)
            line.add(payload[last + 1 :])

    def _complete(self, source: int, line: _Open, time_us: int) -> Iterator[Entry]:
        number, self.number = self.number, self.number + 1
        self._open[source] = None
        if number >= self.wanted.from_number and self.wanted.stream in (None, STREAMS[source]):
            entry = self._line(number, source, line, time_us)
            if self.wanted.needle is None or self.wanted.needle.is_in(entry.text):
                yield entry

    def _line(self, number: int | None, source: int, line: _Open, completed_us: int = 0) -> Entry:
        text, is_truncated = line.text()
        id = None if number is None else self._id(number)
        return Entry(
            number,
            id,
            line.time_us,
            "line",
            STREAMS[source],
            text,
            is_truncated,
            None,
            completed_us,
        )

    def _whole_lines(self, source: int, time_us: int, block: bytes) -> Iterator[Entry | None]:
        """The lines of ``block``, whose last newline is left out. Of all that is done here, this is done
        most: a block that holds nothing of what is wanted is only counted."""
        from_number, stream, needle = self.wanted
        name, is_terminal = STREAMS[source], source == _TERMINAL
        end = self.number + block.count(b"\n") + 1
        if end <= from_number or stream not in (None, name):
            self.number = end
            return
        text = block.decode("utf-8", "replace")
        is_as_written = not is_terminal or needle is None or not _NOT_AS_WRITTEN.search(text)
        if needle is not None and is_as_written and not needle.is_in(text):
            self.number = end
            return
        skipped = max(0, from_number - self.number)
        self.number += skipped
        lines: Iterable[tuple[str, bool]]
        if is_terminal:
            lines = (_shown(raw, raw, len(raw)) for raw in block.split(b"\n")[skipped:])
        else:
            lines = ((raw.rstrip("\r"), False) for raw in text.split("\n")[skipped:])
        for shown, is_cut in lines:
            number, self.number = self.number, self.number + 1
            if needle is None or needle.is_in(shown):
                id = self._id(number)
                yield Entry(number, id, time_us, "line", name, shown, is_cut, None, time_us)
            elif is_terminal:
                yield None

    def _event(self, record: Record) -> Iterator[Entry]:
        if record.kind in (_GAP, _EXITED):
            for source, line in self._begun():
                yield from self._complete(source, line, record.time_us)
        number, self.number = self.number, self.number + 1
        if number >= self.wanted.from_number:
            kind, text, fields = EVENTS[record.kind](record)
            if self.wanted.needle is None or self.wanted.needle.is_in(text):
                id, at_us = self._id(number), record.time_us
                yield Entry(number, id, at_us, kind, None, text, False, fields, at_us)

    def _id(self, number: int) -> int:
        at = bisect_right(self._ids, (number, MAX_INTEGER)) - 1
        first, arrival = self._ids[max(0, at)]
        return arrival + number - first


def head_of(records: bytes, source: int) -> tuple[int, bytes]:
    """Time and first bytes of the line that the stream begins in the first of ``records`` and does not
    end in them."""
    head, began_us = bytearray(), None
    for kind, time_us, begin, end in walk(records):
        if kind - _STDOUT == source:
            payload = records[begin:end]
            if began_us is None:
                began_us, payload = time_us, payload[payload.rfind(b"\n") + 1 :]
            head += payload
            if len(head) >= MAX_LINE_BYTES:
                break
    return began_us or 0, bytes(head[:MAX_LINE_BYTES])


def number_at(chunk: Chunk, time_us: int) -> int:
    """The number of the first entry that is completed in ``chunk`` at that time or later."""
    number = chunk.first_entry
    begun = [offset != NO_LINE for offset in chunk.open_lines]
    for kind, record_us, begin, end in walk(chunk.records):
        if record_us >= time_us:
            break
        if _STDOUT <= kind <= _TTY:
            number += chunk.records.count(b"\n", begin, end)
            begun[kind - _STDOUT] = chunk.records[end - 1] != 10
        elif kind in (_GAP, _EXITED):
            number += 1 + sum(begun)
            begun = [False] * len(begun)
        elif kind != _STARTED:
            number += 1
    return number


def number_after(chunk: Chunk, id: int) -> int:
    """The number of the first entry of ``chunk`` whose id is greater; that behind it if none is."""
    fragments = chunk.fragments()
    at = bisect_right(fragments, id, key=lambda fragment: fragment[1]) - 1
    if at < 0:
        return chunk.first_entry
    end = fragments[at + 1][0] if at + 1 < len(fragments) else chunk.end_entry
    first, arrival = fragments[at]
    return min(first + id - arrival + 1, end)
