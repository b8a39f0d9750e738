"""Records to an asciicast, version 3 or 2. Pure.

Sources: asciinema's ``docs/manual/asciicast/v3.md`` and ``v2.md``. A header line, then ``[time, code,
data]``: ``o`` output, ``r`` a resize, ``m`` a marker (a gap, a signal), ``x`` the exit status (which
version 2 does not tell of; asciinema's own recorder writes it there, too). In version 3 ``time`` is the
seconds since the previous event, with 3 decimals; it is the difference of rounded times, so that what
rounding takes from one event the next one gets. In version 2 it counts from the beginning, with 6.
"""

from __future__ import annotations

import codecs
import shlex
from datetime import datetime
from typing import Any

from ptyshipper.printed.losses import lost
from ptyshipper.printed.newlines import NewLines
from ptyshipper.printed.signals import sent
from ptyshipper.printed.text import json_text
from ptyshipper.records import (
    OUTPUT_KINDS,
    Kind,
    Record,
    read_exited,
    read_resized,
    read_started,
)

DEFAULT_COLS, DEFAULT_ROWS = 80, 24
MAX_SIDE = 1_000
"""A player makes a screen of the size that it is told, so a hostile one would take its memory."""


class CastWriter:
    """The lines of a cast, each with its newline.

    Args:
        session: its summary, as the API gives it.
        version: 3 or 2.
    """

    def __init__(self, session: dict[str, Any], version: int = 3) -> None:
        self._session = session
        self._version = version
        self._last_us = 0
        self._size = (
            min(session.get("cols") or DEFAULT_COLS, MAX_SIDE),
            min(session.get("rows") or DEFAULT_ROWS, MAX_SIDE),
        )
        # A cut inside a character is mended by the record that follows it on the same stream.
        self._decoders = {
            int(kind): codecs.getincrementaldecoder("utf-8")("replace") for kind in OUTPUT_KINDS
        }
        # No terminal has seen these streams.
        self._new_lines = {int(Kind.STDOUT): NewLines(), int(Kind.STDERR): NewLines()}

    def header(self) -> str:
        """The first line."""
        session = self._session
        words = shlex.join(session["command"]).encode("utf-8", "replace").decode()
        cols, rows = self._size
        size = (
            {"width": cols, "height": rows}
            if self._version == 2
            else {"term": {"cols": cols, "rows": rows}}
        )
        value = {
            "version": self._version,
            **size,
            "timestamp": int(datetime.fromisoformat(session["started_at"]).timestamp()),
            "command": words,
        }
        return json_text(value) + "\n"

    def feed(self, record: Record) -> str:
        """The event that a record makes; empty where it makes none."""
        if record.kind in OUTPUT_KINDS:
            lines = self._new_lines.get(record.kind)
            payload = record.payload if lines is None else lines.feed(record.payload)
            shown = self._decoders[record.kind].decode(payload)
            return self._event(record.time_us, "o", shown) if shown else ""
        if record.kind in (Kind.STARTED, Kind.RESIZED):
            return self._resize(record)
        if record.kind == Kind.GAP:
            return self._event(record.time_us, "m", str(lost(record)))
        if record.kind == Kind.SIGNALLED:
            return self._event(record.time_us, "m", sent(record))
        if record.kind == Kind.EXITED:
            exit_ = read_exited(record.payload)
            status = 128 + exit_.signal if exit_.signal else exit_.code
            rest = "".join(self._flush(record.time_us))
            return rest + self._event(record.time_us, "x", str(status))
        return ""

    def _resize(self, record: Record) -> str:
        is_start = record.kind == Kind.STARTED
        told = read_started(record.payload) if is_start else read_resized(record.payload)
        size = min(told.cols, MAX_SIDE), min(told.rows, MAX_SIDE)
        # A terminal without a size (0x0) is one that nobody looks at. The header has the last size.
        if 0 in size or (is_start and size == self._size):
            return ""
        return self._event(record.time_us, "r", f"{size[0]}x{size[1]}")

    def finish(self) -> str:
        """What is left of a session that did not exit: characters that were never completed."""
        return "".join(self._flush(self._last_us))

    def _flush(self, time_us: int) -> list[str]:
        rests = [decoder.decode(b"", True) for decoder in self._decoders.values()]
        return [self._event(time_us, "o", rest) for rest in rests if rest]

    def _event(self, time_us: int, code: str, data: str) -> str:
        before_us, self._last_us = self._last_us, max(self._last_us, time_us)
        if self._version == 2:
            seconds = f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"
        else:
            interval_ms = round(self._last_us / 1000) - round(before_us / 1000)
            seconds = f"{interval_ms // 1000}.{interval_ms % 1000:03d}"
        return f'[{seconds}, "{code}", {json_text(data)}]\n'
