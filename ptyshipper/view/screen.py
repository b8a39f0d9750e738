"""What of a program's output may reach the terminal of somebody who only watches. Pure.

A terminal obeys what it is shown. Some sequences make it *answer*, as if its owner had typed, set
its clipboard or title, print, or lock its keyboard: those must not pass, also not in pieces. So
nothing passes that is not known: characters, the controls that move and draw, and the sequences in
the tables below, each of them whole. Modes that only change what a keyboard or mouse sends have no
meaning for a watcher and are left out with the rest.

The session is shown on the alternate screen, so that its watcher's own is as before afterwards. What
would leave it, or erase the lines above it, is replaced by what looks the same there.

Sources: ECMA-48; xterm's ctlseqs, for the private modes.
"""

from __future__ import annotations

import codecs
import re

# Characters, and BEL BS HT LF VT FF CR SO SI. Not ENQ, which is answered, and no C1 control.
_TEXT = re.compile(r"[\x07-\x0f\x20-\x7e\xa0-\U0010ffff]+")
_CSI = re.compile(r"\x1b\[([0-?]*)([ -/]*)([@-~])")
_ESCAPE = re.compile(r"\x1b([ -/]*)([0-Z\\`-~])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[ -/]*)\Z")
_STRING = re.compile(r"\x1b[\]PX^_]")
"""OSC, DCS, SOS, PM and APC: everything up to ST, BEL, CAN or SUB is their argument."""
_STRING_END = re.compile(r"\x07|\x18|\x1a|\x1b\\|\x1b(?!\\|\Z)")

MAX_SEQUENCE_CHARACTERS = 256

_FINALS = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu")
_FINALS_WITH_INTERMEDIATE = frozenset({(" ", "q"), ("!", "p")})  # cursor's shape; soft reset
_PRIVATE_FINALS = frozenset("JK")
_MODES = frozenset({"4", "20"})
_PRIVATE_MODES = frozenset({"5", "6", "7", "12", "25", "45", "69", "1048", "2026"})
_ALTERNATE_SCREEN = frozenset({"47", "1047", "1049"})
_ERASABLE = frozenset({"", "0", "1", "2"})
"""Parts of the screen. Not 3: those lines are the watcher's."""
_ESCAPES = frozenset("78DEHM")
_CHARACTER_SETS = frozenset("()*+")
_PARAMETERS = re.compile(r"[0-9]{0,5}(?:[;:][0-9]{0,5}){0,31}")
_SETS = re.compile(r"[0-9A-Z<=>]")

_CLEAN = "\x1b[2J\x1b[H"
ENTER = "\x1b[?1049h" + _CLEAN
"""A screen to show the session on; the watcher's own is kept."""
_RESET = "\x1b[!p" + _CLEAN
"""In place of a full reset, which would end the alternate screen."""
_TO_ALTERNATE, _FROM_ALTERNATE = "\x1b7" + _CLEAN, "\x1b[2J\x1b8"
"""In place of the session's own alternate screen: its cursor comes back, what was drawn does not."""
_MODES_OFF = (
    "\x1b[0m\x1b[r\x1b[?69l\x1b[?6l\x1b[?7h\x1b[?5l\x1b[4l\x1b[20l\x1b[?25h\x1b(B\x0f\x1b[?2026l"
)
_INPUT_MODES_OFF = "".join(
    f"\x1b[?{mode}l" for mode in (9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004)
)
LEAVE = _MODES_OFF + _INPUT_MODES_OFF + "\x1b[?1049l"
"""What puts a terminal back to rights when its watcher leaves."""


class ScreenFilter:
    """Takes the bytes of one stream in any pieces; gives those that are safe to show.

    What it gives does not depend on how the bytes were cut, only on when the last byte of a sequence
    came.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._in_string = False
        self._alternate_screen = False

    def feed(self, data: bytes) -> bytes:
        """The safe part of what has come."""
        text = self._waiting + self._decoder.decode(data)
        self._waiting = ""
        shown: list[str] = []
        at = 0
        while at < len(text):
            if self._in_string:
                at = self._skip_string(text, at)
                continue
            if run := _TEXT.match(text, at):
                shown.append(run[0])
                at = run.end()
            elif text[at] != "\x1b":
                at += 1  # a control that nobody may send
            elif _UNFINISHED.match(text, at):
                if len(text) - at <= MAX_SEQUENCE_CHARACTERS:
                    self._waiting = text[at:]
                    break
                at += 1  # it could go on for ever: no terminal knows such a one
            elif string := _STRING.match(text, at):
                self._in_string = True
                at = string.end()
            elif sequence := _CSI.match(text, at, at + MAX_SEQUENCE_CHARACTERS):
                shown.append(self._csi(*sequence.groups()))
                at = sequence.end()
            elif sequence := _ESCAPE.match(text, at, at + MAX_SEQUENCE_CHARACTERS):
                shown.append(_escape(*sequence.groups()))
                at = sequence.end()
            else:
                at += 1  # an ESC that begins nothing; what follows is looked at for itself
        return "".join(shown).encode("utf-8", "replace")

    def _skip_string(self, text: str, at: int) -> int:
        end = _STRING_END.search(text, at)
        if end is None:
            # An ESC at the end may be the first half of the string's own end.
            self._waiting = "\x1b" if text.endswith("\x1b") else ""
            return len(text)
        self._in_string = False
        # Any other sequence ends the string as well, and is looked at for itself.
        return end.start() if end[0] == "\x1b" else end.end()

    def _csi(self, parameters: str, intermediates: str, final: str) -> str:
        private = parameters[:1] == "?"
        numbers = parameters[1:] if private else parameters
        if not _PARAMETERS.fullmatch(numbers):
            return ""
        if final in "hl" and not intermediates:
            modes = numbers.split(";")
            kept = [mode for mode in modes if mode in (_PRIVATE_MODES if private else _MODES)]
            switched = ""
            if private and not _ALTERNATE_SCREEN.isdisjoint(modes):
                switched = self._switch_screen(final == "h")
            return f"\x1b[{'?' * private}{';'.join(kept)}{final}" * bool(kept) + switched
        if final == "J" and numbers not in _ERASABLE:
            return ""
        if private:
            known = not intermediates and final in _PRIVATE_FINALS
        elif intermediates:
            known = (intermediates, final) in _FINALS_WITH_INTERMEDIATE
        else:
            known = final in _FINALS
        return f"\x1b[{parameters}{intermediates}{final}" if known else ""

    def _switch_screen(self, alternate: bool) -> str:
        before, self._alternate_screen = self._alternate_screen, alternate
        if alternate:
            return "" if before else _TO_ALTERNATE
        # Its past may have begun in the middle of a full-screen program.
        return _FROM_ALTERNATE if before else _CLEAN


def _escape(intermediates: str, final: str) -> str:
    if not intermediates:
        if final == "c":
            return _RESET
        return f"\x1b{final}" if final in _ESCAPES else ""
    if intermediates in _CHARACTER_SETS and _SETS.fullmatch(final):
        return f"\x1b{intermediates}{final}"
    return "\x1b#8" if (intermediates, final) == ("#", "8") else ""
