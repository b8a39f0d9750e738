"""Records to lines, for each stream on its own. Pure.

A line ends at a newline, also at CR LF. What a stream has begun is given all the same

- when the stream has been silent for ``SILENCE_US``: a prompt has no newline, and somebody waits for it.
  Half a second, since who writes in pieces pauses less than that, and who reads notices more;
- on a terminal, where it was written over: after ``CHANGING_SILENCE_US`` only, so that a progress bar is
  one line and not a line for each of its states;
- when it is longer than ``MAX_PIECE_BYTES``, in pieces; when ``max_span_bytes`` of records have come
  since it began, since nothing behind its beginning can be released; and at the end.

What silence is, the records' own times tell. So the same records give the same lines whenever they are
read, and a successor that reads them again goes on where the posts before it ended.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ptyshipper.printed.losses import lost
from ptyshipper.printed.terminal_text import (
    ChangingLine,
    readable,
    unfinished_bytes,
    writes_over,
)
from ptyshipper.records import HEADER_BYTES, Kind, Record, read_gap, read_started
from ptyshipper.uplink.posting.progress import STREAMS, Progress

SILENCE_US = 500_000
CHANGING_SILENCE_US = 10_000_000
MAX_PIECE_BYTES = 65_536
MAX_SPAN_BYTES = 2**20
NEVER_US = 2**63

_STDOUT, _STDERR, _TERMINAL, _OWN = range(STREAMS)
_OF_KIND: dict[int, int] = {Kind.STDOUT: _STDOUT, Kind.STDERR: _STDERR, Kind.TTY: _TERMINAL}


class Line(NamedTuple):
    """A line without its newline, or a piece of one: ``is_whole`` if it ends there.

    ``source`` is the number of its stream. ``end`` is where it ends
    among the bytes of its stream, ``settled_offset`` up to where nothing is left to do once this line and
    all before it are.
    """

    time_us: int
    source: int
    text: str
    is_whole: bool
    end: int
    settled_offset: int


class _Part(NamedTuple):
    """Where in what a stream holds the bytes of a record begin, at which position, in which record."""

    at: int
    position: int
    offset: int


class _Stream:
    """What a stream has begun.

    ``end`` is the position behind all that was given. ``is_open``: a piece of its line was. The line is
    in ``held``, behind what was put into ``changing`` already.
    """

    def __init__(self, source: int, end: int, *, is_open: bool, is_terminal: bool) -> None:
        self.source = source
        self.end = end
        self.is_open = is_open
        self.is_terminal = is_terminal
        self.is_changing = False
        self.changing: ChangingLine | None = None
        self.held = bytearray()
        self.begun_offset = 0
        self.time_us = 0
        self.due_us = NEVER_US
        self._parts: list[_Part] = []

    @property
    def has_begun(self) -> bool:
        return bool(self.held) or self.changing is not None

    def hold(self, data: bytes, position: int, offset: int, time_us: int) -> None:
        """``data`` is more of the line; it begins at ``position``, in the record at ``offset``."""
        if not self.has_begun:
            self.begun_offset, self.time_us = offset, time_us
        self._parts.append(_Part(len(self.held), position, offset))
        self.held += data
        if self.is_terminal and not self.is_changing:
            self.is_changing = writes_over(data)
        self.due_us = time_us + (CHANGING_SILENCE_US if self.is_changing else SILENCE_US)

    def take(self, size: int) -> bytes:
        """The first ``size`` bytes of what is held, which are given, or put into ``changing``."""
        data = bytes(self.held[:size])
        del self.held[:size]
        index = bisect_left(self._parts, size, key=_at) - 1
        if index >= 0:
            part = self._parts[index]
            self.end = part.position + size - part.at
            first = _Part(0, self.end, part.offset)
            rest = [part._replace(at=part.at - size) for part in self._parts[index + 1 :]]
            self._parts = rest if rest and rest[0].at == 0 else [first, *rest]
        if not self.held:
            self._parts.clear()
        elif self.changing is None:
            self.begun_offset = self._parts[0].offset
        return data


class LineAssembler:
    """Takes the records of one session in order, from where ``progress`` says that its lines were taken.

    Args:
        colours: those of a terminal are kept.
        max_span_bytes: how far behind the last record a line may have begun.
    """

    def __init__(
        self, progress: Progress, *, colours: bool, max_span_bytes: int = MAX_SPAN_BYTES
    ) -> None:
        self._colours = colours
        self._max_span_bytes = max_span_bytes
        self.terminals = progress.terminals
        self._streams = [
            _Stream(
                source,
                progress.ends[source],
                is_open=bool(progress.open_lines >> source & 1),
                is_terminal=source == _TERMINAL or bool(progress.terminals >> source & 1),
            )
            for source in range(STREAMS)
        ]
        self._read_offset = 0

    @property
    def settled_offset(self) -> int:
        """Everything before it is in the lines that were given, or in none."""
        begun = [stream.begun_offset for stream in self._streams if stream.has_begun]
        return min([*begun, self._read_offset])

    @property
    def due_us(self) -> int:
        """When ``flush_silent`` will have something to give; ``NEVER_US`` if nothing has begun."""
        return min((s.due_us for s in self._streams if s.has_begun), default=NEVER_US)

    def feed(self, record: Record, offset: int) -> Iterator[Line]:
        """The lines that the record at ``offset`` completes. The next record comes after the last."""
        self._read_offset = offset
        yield from self.flush_silent(record.time_us)
        for stream in self._streams:
            if stream.has_begun and offset - stream.begun_offset >= self._max_span_bytes:
                yield from self._flush(stream, at_end=True)
        source = _OF_KIND.get(record.kind)
        next_offset = offset + record.size
        if source is not None:
            yield from self._output(self._streams[source], record, offset)
        elif record.kind == Kind.GAP:
            next_offset = offset + read_gap(record.payload).span
            yield from self.finish()
            yield from self._gap(record, next_offset)
        elif record.kind == Kind.STARTED:
            mask = read_started(record.payload).tty_mask >> 1
            self.terminals = mask & 0b11
            for stream in self._streams[:2]:
                stream.is_terminal = bool(mask >> stream.source & 1)
        self._read_offset = next_offset

    def flush_silent(self, now_us: int) -> Iterator[Line]:
        """What has been waiting for long enough at this time of the session's."""
        for stream in self._streams:
            if stream.has_begun and now_us >= stream.due_us:
                yield from self._flush(stream, at_end=False)

    def finish(self) -> Iterator[Line]:
        """All that was begun: nothing follows."""
        for stream in sorted(self._streams, key=lambda stream: stream.time_us):
            if stream.has_begun:
                yield from self._flush(stream, at_end=True)

    def _output(self, stream: _Stream, record: Record, offset: int) -> Iterator[Line]:
        begin, next_offset = offset + HEADER_BYTES, offset + record.size
        payload, time_us = record.payload, record.time_us
        at, size = max(0, stream.end - begin), len(payload)
        if stream.has_begun or stream.is_open:
            newline = payload.find(b"\n", at)
            if newline >= 0:
                stream.hold(payload[at:newline], begin + at, offset, time_us)
                # Until the record is through, its beginning is not settled.
                self._read_offset = offset if newline + 1 < size else next_offset
                yield from self._end(stream, begin + newline + 1)
                at = newline + 1
        last = payload.rfind(b"\n", at)
        if last >= 0:
            # Whole lines: of all that is done here, this is done most.
            self._read_offset = offset
            settled_offset = self.settled_offset
            for data, text in self._split(stream, payload[at:last]):
                at += len(data) + 1
                stream.end = begin + at
                if at == size:
                    self._read_offset = next_offset
                    settled_offset = self.settled_offset
                yield Line(time_us, stream.source, text, True, stream.end, settled_offset)
        if at < size:
            stream.hold(payload[at:], begin + at, offset, time_us)
            self._read_offset = next_offset
            yield from self._pieces(stream)

    def _split(self, stream: _Stream, data: bytes) -> Iterable[tuple[bytes, str]]:
        """The lines of ``data``, as bytes and as text. No newline is a part of a character."""
        text = data.decode("utf-8", "replace")
        texts = text.split("\n")
        if stream.is_terminal:
            texts = [readable(each, colours=self._colours) for each in texts]
        else:
            if "\r" in text:
                texts = [each.removesuffix("\r") for each in texts]
            if "\0" in text:
                texts = [each.replace("\0", "\ufffd") for each in texts]
        return zip(data.split(b"\n"), texts, strict=True)

    def _end(self, stream: _Stream, end: int) -> Iterator[Line]:
        """All that is held is the end of a line, whose newline ends at the position ``end``."""
        time_us = stream.time_us
        yield from self._pieces(stream)
        if stream.changing is not None:
            stream.changing.feed(stream.take(len(stream.held)).decode("utf-8", "replace"))
            text = stream.changing.text()
            stream.changing = None
        else:
            text = self._text(stream, stream.take(len(stream.held)))
        stream.end = end
        stream.is_changing = False
        is_open, stream.is_open = stream.is_open, False
        if text or not is_open:
            yield Line(time_us, stream.source, text, True, end, self.settled_offset)

    def _text(self, stream: _Stream, data: bytes) -> str:
        """The text of a whole line that was held as it came."""
        if stream.is_terminal:
            return readable(data.decode("utf-8", "replace"), colours=self._colours)
        return _plain(data[:-1] if data.endswith(b"\r") else data)

    def _pieces(self, stream: _Stream) -> Iterator[Line]:
        """Give pieces of a line for as long as it is too long to be held; what changes is held as it is
        by now. Where it is cut does not depend on how it came."""
        while len(stream.held) >= MAX_PIECE_BYTES:
            cut = _cut(stream.held, MAX_PIECE_BYTES)
            if not stream.is_terminal:
                yield self._piece(stream, _plain(stream.take(cut)))
                continue
            was_changing = stream.changing is not None
            piece = self._change(stream, cut, at_end=False)
            if stream.changing is not None and (
                stream.changing.is_full or not (was_changing or writes_over(piece))
            ):
                yield from self._give(stream)

    def _flush(self, stream: _Stream, *, at_end: bool) -> Iterator[Line]:
        """Give what was begun, but for what only what follows gives a meaning, unless ``at_end``."""
        stream.due_us = NEVER_US
        if stream.is_terminal:
            self._change(stream, len(stream.held), at_end=at_end)
            yield from self._give(stream)
            return
        text, size = codecs.utf_8_decode(stream.held, "replace", at_end)
        if not at_end and text.endswith("\r"):
            text, size = text[:-1], size - 1  # maybe half a CR LF
        stream.take(size)
        if text:
            yield self._piece(stream, text.replace("\0", "\ufffd"))

    def _change(self, stream: _Stream, size: int, *, at_end: bool) -> bytes:
        """Put so much of what is held into ``changing``, but for a character or a sequence that is cut
        off; what was put there."""
        whole = stream.held[:size]
        left = 0 if at_end else unfinished_bytes(whole)
        text, size = codecs.utf_8_decode(whole[: len(whole) - left], "replace", at_end or left > 0)
        if text:
            if stream.changing is None:
                stream.changing = ChangingLine(colours=self._colours)
            stream.changing.feed(text)
        return stream.take(size)

    def _give(self, stream: _Stream) -> Iterator[Line]:
        """The changing line as it is now."""
        if stream.changing is not None:
            text = stream.changing.text()
            stream.changing = None
            stream.is_changing = False
            stream.take(0)
            if text:
                yield self._piece(stream, text)

    def _piece(self, stream: _Stream, text: str) -> Line:
        stream.is_open = True
        return Line(stream.time_us, stream.source, text, False, stream.end, self.settled_offset)

    def _gap(self, record: Record, next_offset: int) -> Iterator[Line]:
        stream = self._streams[_OWN]
        self._read_offset = next_offset
        if next_offset > stream.end:
            stream.end = next_offset
            text = f"ptyshipper: {lost(record)}"
            yield Line(record.time_us, _OWN, text, True, next_offset, self.settled_offset)


def _at(part: _Part) -> int:
    return part.at


def _plain(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _cut(data: bytearray, limit: int) -> int:
    """Where to cut ``data``, at ``limit`` bytes or up to four before: neither in a character nor in a
    CR LF."""
    cut = limit
    while cut > limit - 4 and cut < len(data) and 0x80 <= data[cut] < 0xC0:
        cut -= 1
    if cut == limit - 4:
        cut = limit  # no character is that long
    return cut - 1 if data[cut - 1] == 0x0D else cut
