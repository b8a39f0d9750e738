"""Records to an asciicast, version 3. Pure.

Source: asciinema's ``docs/manual/asciicast/v3.md``. A header line, then ``[interval, code, data]``:
``o`` output, ``r`` a resize, ``m`` a marker, ``x`` the exit status. ``interval`` is the seconds since
the previous event, with 3 decimals; it is the difference of rounded times, so that what rounding
takes from one event the next one gets.
"""

from __future__ import annotations

import codecs
import shlex
from datetime import datetime
from typing import Any

from ptyshipper.printed.losses import lost
from ptyshipper.records import (
    OUTPUT_KINDS,
    Kind,
    Record,
    read_exited,
    read_resized,
)
from ptyshipper.view.newlines import NewLines
from ptyshipper.view.text import json_text

DEFAULT_COLS, DEFAULT_ROWS = 80, 24
MAX_SIDE = 1_000
"""A player makes a screen of the size that it is told, so a hostile one would take its memory."""


class CastWriter:
    """The lines of a cast, each with its newline."""

    def __init__(self, session: dict[str, Any]) -> None:
        self._session = session
        self._last_ms = 0
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
        value = {
            "version": 3,
            "term": {
                "cols": min(session.get("cols") or DEFAULT_COLS, MAX_SIDE),
                "rows": min(session.get("rows") or DEFAULT_ROWS, MAX_SIDE),
            },
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
        if record.kind == Kind.RESIZED:
            size = read_resized(record.payload)
            # A terminal without a size (0x0) is one that nobody looks at.
            if not size.cols or not size.rows:
                return ""
            cols, rows = min(size.cols, MAX_SIDE), min(size.rows, MAX_SIDE)
            return self._event(record.time_us, "r", f"{cols}x{rows}")
        if record.kind == Kind.GAP:
            return self._event(record.time_us, "m", str(lost(record)))
        if record.kind == Kind.EXITED:
            exit_ = read_exited(record.payload)
            status = 128 + exit_.signal if exit_.signal else exit_.code
            rest = "".join(self._flush(record.time_us))
            return rest + self._event(record.time_us, "x", str(status))
        return ""

    def finish(self) -> str:
        """What is left of a session that did not exit: characters that were never completed."""
        return "".join(self._flush(self._last_ms * 1000))

    def _flush(self, time_us: int) -> list[str]:
        rests = [decoder.decode(b"", True) for decoder in self._decoders.values()]
        return [self._event(time_us, "o", rest) for rest in rests if rest]

    def _event(self, time_us: int, code: str, data: str) -> str:
        time_ms = max(self._last_ms, round(time_us / 1000))
        interval_ms, self._last_ms = time_ms - self._last_ms, time_ms
        seconds = f"{interval_ms // 1000}.{interval_ms % 1000:03d}"
        return f'[{seconds}, "{code}", {json_text(data)}]\n'
