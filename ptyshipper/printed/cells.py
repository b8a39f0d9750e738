"""A line that was written over, as its terminal showed it in the end. Pure.

A progress bar returns to its start many times, and what is shorter covers only part of what was
there: cells are overwritten one by one, as a terminal does, until something erases the rest. Backspaces
and moves within the line count as well.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter

from ptyshipper.printed.widths import width

RESET = "\x1b[0m"

_PIECES = re.compile(
    r"(?P<run>[\x20-\x7e]+)"
    r"|\x1b\[(?P<colour>[0-9;:]*)m"
    r"|\x1b\[(?P<erase>[0-2]?)[JK]"  # of a screen (J) a row sees its own part
    r"|\x1b\[(?P<move>[0-9]{0,5}[CDG])"
    r"|(?P<other>\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\))"
    r"|(?P<one>.)",
    re.DOTALL,
)
_MOVES = re.compile(r"[\r\x08]|\x1b\[[0-9]{0,5}[CDG]")
_TAB = 8
_MAX_TABBED_COLUMN = 1_024
"""Beyond, a tab is one cell wide and nothing moves to the right: a line of a million tabs is to take no
eight million cells."""
_MAX_CELL_CHARACTERS = 16
_MAX_COLOURS, _MAX_COLOUR_CHARACTERS = 8, 64
"""Of what is in force at a time. Every cell may be given a colour of its own."""

Colours = tuple[str, ...]


def settled(text: str) -> str:
    """``text``, a line without its newline, after the last of its returns; colours are kept."""
    text = text.rstrip("\r")
    if not _MOVES.search(text):
        return text
    row = Row()
    row.feed(text)
    return row.text()


class Row:
    """Cells and a cursor. The second cell of a wide character is empty."""

    def __init__(self) -> None:
        self._cells: list[str] = []
        self._cell_colours: list[Colours] = []
        self._colours: Colours = ()
        self._column = 0

    def __len__(self) -> int:
        return len(self._cells)

    def feed(self, text: str) -> None:
        """Write ``text``, in which no sequence is cut off; those that are not known do nothing."""
        for piece in _PIECES.finditer(text):
            kind = piece.lastgroup
            if kind == "run":
                self.put(piece[0])
            elif kind == "colour":
                self.colour(piece["colour"])
            elif kind == "erase":
                self.erase(piece["erase"])
            elif kind == "move":
                self.move(piece["move"])
            elif kind == "one":
                self.put_one(piece["one"])

    def put(self, characters: str, width: int | None = None) -> None:
        """Write a run of narrow characters, or one that is ``width`` cells wide."""
        first, cells = self._column, self._cells
        if first > len(cells):
            self._fill(first)
        last = first + (len(characters) if width is None else width)
        # Of a wide character that loses one half, the other becomes a blank.
        if first < len(cells) and cells[first] == "":
            cells[first - 1] = " "
        if last < len(cells) and cells[last] == "":
            cells[last] = " "
        cells[first:last] = characters if width is None else [characters, *[""] * (width - 1)]
        self._cell_colours[first:last] = [self._colours] * (last - first)
        self._column = last

    def put_one(self, character: str) -> None:
        """Write what is no printable ASCII."""
        if character == "\r":
            self._column = 0
        elif character == "\t":
            wide = _TAB - self._column % _TAB if self._column < _MAX_TABBED_COLUMN else 1
            self._column += wide
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif (cells := width(character)) == 0 and 0 < self._column <= len(self._cells):
            at = self._column - 1
            at -= self._cells[at] == "" and at > 0
            if len(self._cells[at]) < _MAX_CELL_CHARACTERS:
                self._cells[at] += character
        else:
            self.put(character, max(1, cells))

    def move(self, how: str) -> None:
        """To the right (C), to the left (D), or to a column, counted from 1 (G)."""
        count = max(1, int(how[:-1] or 1))
        if how[-1] == "D":
            self._column = max(0, self._column - count)
            return
        column = self._column + count if how[-1] == "C" else count - 1
        self._column = min(column, max(self._column, _MAX_TABBED_COLUMN))

    def erase(self, what: str) -> None:
        """From here to the end, to here from the beginning (1), or all of it (2)."""
        if what == "2":
            self._cells.clear()
            self._cell_colours.clear()
        elif what == "1":
            count = min(self._column + 1, len(self._cells))
            self._cells[:count] = [" "] * count
            self._cell_colours[:count] = [()] * count
        else:
            del self._cells[self._column :]
            del self._cell_colours[self._column :]

    def colour(self, parameters: str) -> None:
        sequence = f"\x1b[{parameters}m"
        if len(sequence) > _MAX_COLOUR_CHARACTERS:
            return
        first = parameters.partition(";")[0]
        if not first.strip("0"):  # it begins with a reset
            self._colours = () if parameters == first else (sequence,)
        else:
            others = tuple(each for each in self._colours if each != sequence)
            self._colours = (*others, sequence)[-_MAX_COLOURS:]

    def text(self) -> str:
        parts, before = list[str](), ()
        for colours, cells in groupby(
            zip(self._cell_colours, self._cells, strict=True), itemgetter(0)
        ):
            if colours != before:
                parts += [RESET if before else "", *colours]
                before = colours
            parts += [cell for _, cell in cells]
        return "".join(parts)

    def _fill(self, end: int) -> None:
        missing = end - len(self._cells)
        self._cells += [" "] * missing
        self._cell_colours += [()] * missing
