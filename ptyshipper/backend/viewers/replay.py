"""Records to what a terminal is to do, for a viewer who joins late as for one who is there. Pure.

A late viewer's terminal gets the end of the output again, from a place on at which it does not matter
what was on the screen: where it was cleared, or the session's beginning. An emulator of ours could tell
the screen in fewer bytes, but pyte takes a second for a megabyte, knows no alternate screen and raises on
what vim prints; a player takes 0.3 s for that megabyte, and its own emulator is the one that counts.

Where the screen was cleared longer ago, what was drawn right behind that comes before the end of the
output: the parts that a program like top draws once and never again. What lies between the two is left
out, so a number that changed there, and not since, is an old one.

The output goes out as it was written. The player draws it on a screen of its own and has no terminal that
could answer, no clipboard and no title to set; other programs that speak ``v1.alis`` have to see to that
themselves.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
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
REPLAY_BYTES = 1 << 20
"""So much of the output at most is written again. Where the screen was cleared within it, every cell is
right; else those that changed within it are, and in sessions of bash and vim 32 KiB were enough for all of
them (measured). Of top, with 5 KB a frame, it is ten minutes."""
HEAD_BYTES = 65_536
"""So much of it from the last time on at which the screen was cleared."""
EVENT_BYTES, EVENT_RECORDS = 65_536, 1_000
"""What one event has at most: 3 ms of work."""

_CLEARS = re.compile(
    r"\x1bc"  # full reset
    r"|\x1b\[\?(?:47|1047|1049)[hl]"  # to the alternate screen, or back
    r"|\x1b\[(?:1;1)?H\x1b\[0?J"
    r"|(?:\x1b\[(?:1;1)?H)?\x1b\[2J"
)
_NEWLINE = re.compile(r"(?<=\n)")
_CLEARS_BYTES = re.compile(_CLEARS.pattern.encode())
_MOVES = re.compile(r"\x1b\[(?:[0-9]+;[0-9]+)?H")
"""To a place of the screen's, wherever the cursor was before."""


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


class Screen(NamedTuple):
    """A terminal as a late viewer is to have it: its size, what is written on it, what is done then."""

    cols: int
    rows: int
    text: str
    actions: list[Action]


def screen(
    actions: list[Action], cols: int, rows: int, *, is_whole: bool, head: str = ""
) -> Screen:
    """The screen behind ``actions``, the last of a session, whose terminal was that large before them.

    Args:
        is_whole: they are all there are, so that nothing has to be left out of them.
        head: what ``head_of`` found before them, if they do not clear the screen.
    """
    if not is_whole:
        patterns = (_CLEARS, _MOVES, _NEWLINE) if head else (_CLEARS, _NEWLINE)
        actions = _from(actions, patterns)
    text = [head] if head else []
    for at, action in enumerate(actions):
        if isinstance(action, Resize) and not text:
            cols, rows = action
        elif isinstance(action, Resize):
            # What was written before it was written on a terminal of the other size.
            left: list[Action] = [e for e in actions[at:] if isinstance(e, Output | Resize)]
            return Screen(cols, rows, "".join(text), left)
        elif isinstance(action, Output):
            text.append(action.text)
    return Screen(cols, rows, "".join(text), [])


def clears(actions: list[Action]) -> bool:
    """Whether the screen is cleared somewhere in them."""
    return any(isinstance(each, Output) and _CLEARS.search(each.text) for each in actions)


def has_clear(records: bytes) -> bool:
    """Whether it is cleared in these records: a quick look, which a header between two bytes escapes."""
    return _CLEARS_BYTES.search(records) is not None


def head_of(actions: Iterable[Action]) -> str:
    """What was written from the last clearing in ``actions`` on: ``HEAD_BYTES`` at most, to a sequence."""
    text = "".join(each.text for each in actions if isinstance(each, Output))
    begin = max((found.start() for found in _CLEARS.finditer(text)), default=len(text))
    head = text[begin : begin + HEAD_BYTES]
    return head[: head.rfind("\x1b")] if begin + HEAD_BYTES < len(text) else head


def _from(actions: list[Action], patterns: tuple[re.Pattern[str], ...]) -> list[Action]:
    """What is from the first place on at which the first of these is found; all, where none is."""
    for pattern in patterns:
        for at, action in enumerate(actions):
            if isinstance(action, Output) and (found := pattern.search(action.text)) is not None:
                return [Output(action.text[found.start() :]), *actions[at + 1 :]]
    return actions
