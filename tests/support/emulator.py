"""A terminal's screen, by pyte: what a viewer would see."""

from __future__ import annotations

from typing import Any

import pyte


class _Screen(pyte.Screen):
    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        if not private:  # vim's xterm key modes, which pyte takes for colours and raises on
            super().select_graphic_rendition(*attributes)


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
