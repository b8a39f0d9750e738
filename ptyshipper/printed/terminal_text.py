"""What a person would have read of a line that a program wrote to its terminal. Pure.

What was written over is gone (``printed.cells``). Sequences that move the cursor, set a title or ask the
terminal something are taken out whole, and so are the controls that no reader sees.

Source: ECMA-48.
"""

from __future__ import annotations

import re

from ptyshipper.printed.cells import Row

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_MOVES_OR_ERASES = re.compile(r"[\r\b]|\x1b\[(?:[0-2]?[JK]|[0-9]{0,5}[CDG])")
"""What ``Row`` obeys beside colours."""

_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x18|\x1a|\x1b\\|(?=\x1b)|\Z)"  # OSC, DCS and the like
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x07\x0a-\x0c\x0e-\x1f\x7f-\x9f]"  # among them an ESC that begins nothing
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x18\x1a\x1b]*\x1b?|[ -/]*)\Z")
_MAX_SEQUENCE_BYTES = 4_096
"""No sequence is waited for longer: it could go on for ever."""

_OVERWRITES = re.compile(rb"[\r\x08]|\x1b\[[0-9]{0,5}[DG]")
MAX_COLUMNS = 8_192
"""A longer row is given as it is by then, so that a program which only ever returns fills no memory."""


def writes_over(data: bytes) -> bool:
    """Whether the line that these bytes belong to is one that changes, as a progress bar does."""
    return _OVERWRITES.search(data) is not None


def unfinished_bytes(data: bytes | bytearray) -> int:
    """How much of the end of ``data`` may be the beginning of a sequence."""
    found = _UNFINISHED.search(data, max(0, len(data) - _MAX_SEQUENCE_BYTES))
    return len(found[0]) if found else 0


def readable(text: str, *, colours: bool) -> str:
    """A whole line, without its newline."""
    text = text.rstrip("\r")
    if text.isprintable():
        return text
    known = _known(text, colours=colours)
    if _MOVES_OR_ERASES.search(known) is None:
        return known
    row = Row()
    row.feed(known)
    return row.text()


class ChangingLine:
    """A line too long to be kept as it was written; what is left of it is kept.

    ``feed`` takes it in pieces in which no sequence is cut off.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._row = Row()

    @property
    def is_full(self) -> bool:
        return len(self._row) >= MAX_COLUMNS

    def feed(self, text: str) -> None:
        self._row.feed(_known(text, colours=self._colours))

    def text(self) -> str:
        return self._row.text()


def _known(text: str, *, colours: bool) -> str:
    """Without the sequences that a line has no use for."""

    def keep(match: re.Match[str]) -> str:
        control = match[0]
        if _MOVES_OR_ERASES.fullmatch(control) or (colours and _SGR.fullmatch(control)):
            return control
        return ""

    return _CONTROLS.sub(keep, text)
