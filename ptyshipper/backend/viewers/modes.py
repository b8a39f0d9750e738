"""What a terminal's output leaves set: modes, scrolling region, character sets, colours. Pure."""

from __future__ import annotations

import re

MAX_MODES = 64
MAX_COLOURS = 16
COLOUR_CHARACTERS = 2_048
"""How far before its end the colours of a text are looked for."""

_SET = re.compile(r"\x1b(?:\[(\??[0-9;]*)([hlr])|([()])([0AB]))")
_COLOURS = re.compile(r"\x1b\[([0-9;:]*)m")
_SWITCH_KEYS = frozenset(("?47", "?1047", "?1049"))
"""Not a mode here, but another screen."""
_SAVED_KEYS = frozenset(("?6", "?7", "(", ")"))


class Modes:
    """The modes that a text sets, and the colours at its end: the last word on each."""

    def __init__(self) -> None:
        self._found = dict[str, str]()
        self._colours = list[str]()

    def copy(self) -> Modes:
        made = Modes()
        made.update(self)
        return made

    def update(self, later: Modes) -> None:
        self._found.update(later._found)
        self._colour(later._colours)
        while len(self._found) > MAX_MODES:
            del self._found[next(iter(self._found))]

    def without_saved(self) -> Modes:
        """But those that are saved with the cursor, and come back with it."""
        made = Modes()
        made._found = {key: each for key, each in self._found.items() if key not in _SAVED_KEYS}
        return made

    def see_all(self, text: str) -> None:
        self.see(text)
        self.see_colours(text)

    def see(self, text: str) -> None:
        for found in _SET.finditer(text):
            key = found[3] or ("r" if found[2] == "r" else found[1])
            if key in _SWITCH_KEYS:
                continue
            self._found.pop(key, None)
            self._found[key] = found[0]
            if len(self._found) > MAX_MODES:
                del self._found[next(iter(self._found))]

    def see_colours(self, text: str) -> None:
        begin = max(0, len(text) - COLOUR_CHARACTERS)
        self._colour([each[1] for each in _COLOURS.finditer(text, begin)])

    def _colour(self, found: list[str]) -> None:
        """All since the last that begins with a reset."""
        every = self._colours + found
        resets = [at for at, each in enumerate(every) if each.partition(";")[0] in ("", "0")]
        self._colours = every[resets[-1] if resets else 0 :][-MAX_COLOURS:]

    def text(self) -> str:
        """What sets them all."""
        return "".join([*self._found.values(), *(f"\x1b[{each}m" for each in self._colours)])
