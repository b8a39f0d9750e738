"""Gets the next post ready: the session's records from where its posts ended, as lines, as entries."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ptyshipper.records import decode
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.uplink.attempts import FOREVER_S
from ptyshipper.uplink.posting import post
from ptyshipper.uplink.posting.events import Gathered
from ptyshipper.uplink.posting.lines import NEVER_US, LineAssembler


class Gatherer:
    """``fill`` ahead, as often as one likes; ``take`` what is ready.

    ``read_offset`` is how far the session was read.
    """

    def __init__(
        self, reader: SpoolReader, lines: LineAssembler, envelope: post.Envelope, offset: int
    ) -> None:
        self.read_offset = offset
        self._reader = reader
        self._lines = lines
        self._envelope = envelope
        self._to_the_end = False
        self._source = self._entries()
        self._ready: list[post.Entry] = []  # for the next post
        self._ready_bytes = 0
        self._spare: post.Entry | None = None  # it did not fit that any more
        self._began_us: int | None = None  # the session's beginning, on the monotonic clock

    @property
    def due_s(self) -> float:
        """When what was begun has waited for long enough."""
        due_us = self._lines.due_us
        if due_us >= NEVER_US or self._began_us is None:
            return FOREVER_S
        return (due_us + self._began_us) / 1e6

    def take(self, *, to_the_end: bool) -> Gathered:
        """What the next post takes of what can be read by now; ``to_the_end``: nothing will follow."""
        self._to_the_end = to_the_end
        self.fill()
        entries, self._ready, self._ready_bytes = tuple(self._ready), [], 0
        is_full = self._spare is not None
        return Gathered(entries, is_full, self._lines.settled_offset, self._lines.terminals)

    def fill(self) -> None:
        """Get the next post ready."""
        entry, self._spare = self._spare or next(self._source), None
        while entry is not None:
            if not post.fits(len(self._ready), self._ready_bytes, entry, self._envelope.room_bytes):
                self._spare = entry
                return
            self._ready.append(entry)
            self._ready_bytes += entry.size_bytes
            entry = next(self._source)

    def _entries(self) -> Iterator[post.Entry | None]:
        """The session's lines from here on, without an end; None where there is nothing yet."""
        while True:
            batch = self._reader.read(self.read_offset)
            if not batch.records:
                for line in self._lines.flush_silent(self._now_us()):
                    yield from self._envelope.entries(line)
                if self._to_the_end:
                    for line in self._lines.finish():
                        yield from self._envelope.entries(line)
                yield None
                continue
            now_us = time.monotonic_ns() // 1000
            offset = self.read_offset
            self.read_offset = batch.next_offset
            for record in decode(batch.records):
                if self._began_us is None or now_us - record.time_us < self._began_us:
                    self._began_us = now_us - record.time_us
                for line in self._lines.feed(record, offset):
                    yield from self._envelope.entries(line)
                offset += record.size  # of a gap it is not, but nothing follows one in its batch

    def _now_us(self) -> int:
        """The session's time: as far from a record's as it is since that was read, or a little less."""
        if self._began_us is None:
            return 0
        return time.monotonic_ns() // 1000 - self._began_us
