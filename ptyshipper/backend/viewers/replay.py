"""Records to what a terminal is to do, for a viewer. Pure.

The output goes out as it was written. The player draws it on a screen of its own and has no terminal that
could answer, no clipboard and no title to set; other programs that speak ``v1.alis`` have to see to that
themselves.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from ptyshipper.backend.entries.entry import EVENTS
from ptyshipper.printed.newlines import NewLines
from ptyshipper.records import (
    OUTPUT_KINDS,
    Kind,
    Record,
    read_exited,
    read_resized,
    read_started,
    walk,
)

DEFAULT_COLS, DEFAULT_ROWS = 80, 24
EVENT_BYTES, EVENT_RECORDS = 65_536, 1_000
"""What one event has at most: 3 ms of work."""


class Output(NamedTuple):
    """Write ``text``, which ends at a character's end."""

    text: str


class Resize(NamedTuple):
    """The terminal has another size now."""

    cols: int
    rows: int


class Marker(NamedTuple):
    """Something else happened: a signal, a gap."""

    label: str


class Exit(NamedTuple):
    """The program ended, as a shell tells it: 128 + n for signal n."""

    status: int


Action = Output | Resize | Marker | Exit


class Player:
    """Takes records in order; gives what a terminal is to do."""

    def __init__(self) -> None:
        # A cut inside a character is mended by the record that follows it on the same stream.
        self._decoders = {
            int(kind): codecs.getincrementaldecoder("utf-8")("replace") for kind in OUTPUT_KINDS
        }
        # No terminal has seen these streams.
        self._new_lines = {int(Kind.STDOUT): NewLines(), int(Kind.STDERR): NewLines()}

    def feed(self, records: bytes) -> Iterator[Action]:
        """What whole records give; output that follows on output is one event, up to a size."""
        held, size = list[str](), 0
        for kind, time_us, begin, end in walk(records):
            payload = records[begin:end]
            if kind in self._decoders:
                lines = self._new_lines.get(kind)
                shown = payload if lines is None else lines.feed(payload)
                if size and (size + len(shown) > EVENT_BYTES or len(held) == EVENT_RECORDS):
                    yield Output("".join(held))
                    held, size = [], 0
                held.append(self._decoders[kind].decode(shown))
                size += len(shown)
            elif (action := _action(Record(kind, time_us, payload))) is not None:
                if size:
                    yield Output("".join(held))
                    held, size = [], 0
                yield action
        if size:
            yield Output("".join(held))


def _action(record: Record) -> Action | None:
    if record.kind in (Kind.STARTED, Kind.RESIZED):
        is_start = record.kind == Kind.STARTED
        size = read_started(record.payload) if is_start else read_resized(record.payload)
        # A terminal without a size (0x0) is one that nobody looks at.
        return Resize(size.cols, size.rows) if size.cols and size.rows else None
    if record.kind in (Kind.SIGNALLED, Kind.GAP):
        return Marker(EVENTS[record.kind](record).text)
    if record.kind == Kind.EXITED:
        exit_ = read_exited(record.payload)
        return Exit(128 + exit_.signal if exit_.signal else exit_.code)
    return None
