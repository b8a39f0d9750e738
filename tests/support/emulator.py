"""A terminal's screen, by pyte, which lacks the alternate one: what a viewer would see."""

from __future__ import annotations

import copy
from typing import Any

import pyte
from pyte import modes as mo

_ALTERNATE = {47, 1047, 1049}
_SAVED = {mo.DECOM, mo.DECAWM}


class _Screen(pyte.Screen):
    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        if not private:  # vim's xterm key modes, which pyte takes for colours and raises on
            super().select_graphic_rendition(*attributes)

    def erase_in_display(self, how: int = 0, *rest: Any, **more: Any) -> None:
        """All of the cells get the colour, and not only those that were written once."""
        super().erase_in_display(how, *rest, **more)
        first = self.cursor.y + 1 if how == 0 else 0
        last = self.cursor.y if how == 1 else self.lines
        for y in range(first, last):
            for x in range(self.columns):
                self.buffer[y][x] = self.cursor.attrs

    _normal: dict[int, Any] | None = None
    """The normal screen, while the alternate one is shown."""
    _left: tuple[Any, set[int]] | None = None
    """The cursor and the modes that 1049 saved."""

    def reset(self) -> None:
        self._normal = self._left = None
        super().reset()

    def set_mode(self, *modes: int, **how: Any) -> None:
        if not how.get("private") or not _ALTERNATE & set(modes):
            super().set_mode(*modes, **how)
            return
        if 1049 in modes:
            self._left = copy.copy(self.cursor), self.mode & _SAVED
        if self._normal is None:
            self._normal = copy.deepcopy(dict(self.buffer))
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **how: Any) -> None:
        if not how.get("private") or not _ALTERNATE & set(modes):
            super().reset_mode(*modes, **how)
            return
        if self._normal is not None:
            self.buffer.clear()
            self.buffer.update(self._normal)
            self._normal = None
        if 1049 in modes and self._left is not None:
            self.cursor, saved = copy.copy(self._left[0]), self._left[1]
            self.mode = self.mode - _SAVED | saved


class Emulator:
    """Feeds text to a screen of that size."""

    def __init__(self, cols: int, rows: int) -> None:
        self._screen = _Screen(cols, rows)
        self._stream = pyte.Stream(self._screen)

    def feed(self, text: str) -> None:
        self._stream.feed(text)

    def resize(self, cols: int, rows: int) -> None:
        self._screen.resize(rows, cols)

    def cells(self) -> list[list[Any]]:
        """Every cell, with its colours, and the cursor last."""
        screen = self._screen
        lines = [[screen.buffer[y][x] for x in range(screen.columns)] for y in range(screen.lines)]
        return [*lines, [(screen.cursor.x, screen.cursor.y)]]
