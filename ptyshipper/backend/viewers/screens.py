"""What a late viewer has to be sent to have the screen as it is. Pure.

``Screens`` is fed what a terminal does, and forgets what can't be seen any more: what was written before
the screen was cleared, and all of the alternate screen when it is left. So a shell in which vim ran still
has what vim found there, and a program on the alternate screen leaves the shell's own behind.

An emulator of ours could tell the screen in fewer bytes, but pyte takes a second for a megabyte, knows no
alternate screen and raises on what vim prints; a player takes 0.3 s for that megabyte, and its own
emulator is the one that counts.

Of what was written since the clearing the first ``HEAD_BYTES`` are kept, where a program like top draws
what it never draws again, and the last ``REPLAY_BYTES``. A cell that changed between the two and not
since is an old one; nothing else is wrong, since modes and colours are carried over what is left out.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ptyshipper.backend.viewers.modes import COLOUR_CHARACTERS, Modes
from ptyshipper.backend.viewers.replay import Action, Output, Resize

REPLAY_BYTES = 1 << 20
"""Of top, with 5 KB a frame, it is ten minutes; of bash and vim 32 KiB were enough for every cell
(measured)."""
HEAD_BYTES = 65_536
MAX_SWITCHES = 64
"""Between the screens, in one action: 15 us each."""

_ALTERNATE = r"\x1b\[\?(?:47|1047|1049)"
_SWITCHES = re.compile(rf"\x1bc|{_ALTERNATE}[hl]")
"""A full reset, and to the alternate screen or back."""
_CLEARS = re.compile(
    r"\x1b\[(?:1;1)?H\x1b\[0?J|\x1b\[(?:1;1)?H\x1b\[2J|\x1b\[2J(?=\x1b\[(?:[0-9]+;[0-9]+)?H)"
)
"""All is cleared, and where the cursor is then does not hang on where it was."""
_SWITCHES_BYTES = re.compile(_SWITCHES.pattern.encode())
_CLEARS_BYTES = re.compile(_CLEARS.pattern.encode())
_MOVES = re.compile(r"\x1b\[(?:[0-9]+;[0-9]+)?H")
"""To a place of the screen's, wherever the cursor was before."""
_NEWLINE = re.compile(r"(?<=\n)")
_RESET, _BACK_WITH_CURSOR = "\x1bc", "\x1b[?1049l"


class Screen(NamedTuple):
    """A terminal as a late viewer is to have it: its size, what is written on it, what is done then."""

    cols: int
    rows: int
    text: str
    actions: list[Action]


class Screens:
    """The normal screen, and the alternate one while a program is on it.

    Args:
        is_start: nothing came before what is fed.
    """

    def __init__(self, *, is_start: bool) -> None:
        self._normal = _Drawn(is_known=is_start)
        self._alternate: _Drawn | None = None
        self._has_switched = is_start

    @property
    def is_known(self) -> bool:
        """Nothing from before what was fed can be on the screen, or come back to it."""
        shown = (self._normal, self._alternate or self._normal)
        return self._has_switched and all(each.is_known for each in shown)

    @property
    def _shown(self) -> _Drawn:
        return self._alternate or self._normal

    def feed(self, action: Action) -> None:
        """Output and resizes; what else happens leaves no trace on a screen."""
        if isinstance(action, Resize):
            self._shown.resize(action)
        elif isinstance(action, Output):
            at = 0
            for found in self._switches(action.text):
                self._shown.write(action.text[at : found.start()])
                self._switch(found[0])
                at = found.end()
            self._shown.write(action.text[at:] if at else action.text)

    def _switches(self, text: str) -> list[re.Match[str]]:
        """The last ones: of very many, those before them are left in the text, up to one that leads to the
        screen that is shown anyway."""
        found = list(_SWITCHES.finditer(text))
        if len(found) <= MAX_SWITCHES:
            return found
        is_alternate = self._alternate is not None
        begins = range(len(found) - MAX_SWITCHES, len(found))
        same = (at for at in begins if found[at - 1][0].endswith("h") == is_alternate)
        return found[next(same, len(found) - 1) :]

    def _switch(self, sequence: str) -> None:
        if sequence == _RESET:
            size = self._shown.size or self._normal.size
            self._normal, self._alternate = _Drawn(is_known=True, size=size), None
            self._normal.write(sequence)
        elif sequence.endswith("h"):
            if self._alternate is None:
                self._alternate = _Drawn(is_known=True, begin=sequence)
            else:
                self._alternate.write(sequence)
        elif self._alternate is not None:
            self._normal.leave(self._alternate, sequence)
            self._alternate = None
        else:
            if not self._has_switched:
                # What was before this was on the alternate screen; what is on the normal one is not known.
                self._normal = _Drawn(is_known=False, size=self._normal.size)
            self._normal.write(sequence)
        self._has_switched = True

    def skip(self) -> None:
        """What comes next is left out, up to where ``feed`` goes on."""
        self._shown.tear()
        self._has_switched = True

    def screen(self, cols: int, rows: int) -> Screen:
        """The screen by now, of that size if none was fed."""
        actions = self._normal.actions()
        if self._alternate is not None:
            actions += self._alternate.actions()
        text = list[str]()
        for at, action in enumerate(actions):
            if isinstance(action, Output):
                text.append(action.text)
            elif isinstance(action, Resize) and not any(text):
                cols, rows = action
            else:
                # What was written before it was written on a terminal of the other size.
                return Screen(cols, rows, "".join(text), actions[at:])
        return Screen(cols, rows, "".join(text), [])


def last_switch(records: bytes) -> str:
    """The last switch between the two screens in these records, or the reset that is one; empty: there is
    none. A quick look, which a header between two bytes escapes."""
    found = _last(_SWITCHES_BYTES, records)
    return "" if found is None else found[0].decode()


def has_clear(records: bytes) -> bool:
    """Whether the screen is cleared or switched in these records: as quick a look."""
    return any(each.search(records) is not None for each in (_CLEARS_BYTES, _SWITCHES_BYTES))


class _Drawn:
    """What was written on a screen since it was empty, as far as it can still be seen.

    Args:
        is_known: it was empty then, or its beginning is known otherwise.
        begin: what brought this screen up.
        size: that of the terminal by then, if that is known.
    """

    def __init__(self, *, is_known: bool, begin: str = "", size: Resize | None = None) -> None:
        self.is_known = is_known
        self.size = size
        self._begin = begin
        self._first_size = size
        self._modes = Modes()
        self._restart()

    def _restart(self) -> None:
        self._head, self._head_size = list[Action](), 0
        self._tail, self._tail_size = deque[Action](), 0
        self._torn: Modes | None = None
        """The modes that were set in what is left out; None: all is there."""

    def write(self, text: str) -> None:
        if (cleared := _last(_CLEARS, text)) is not None:
            self._forget(text[: cleared.start()])
            text = text[cleared.start() :]
        if text:
            self._add(Output(text))

    def resize(self, size: Resize) -> None:
        self.size = size
        if self._tail and isinstance(self._tail[-1], Resize):
            self._tail.pop()  # nothing was written in that size
            self._tail_size -= _size(size)
        self._add(size)

    def leave(self, alternate: _Drawn, sequence: str) -> None:
        """Back from another screen: of what happened on it, its size and modes are left; and where the
        cursor was, unless it comes back as well."""
        if sequence == _BACK_WITH_CURSOR:
            self._add(Output(alternate._begin))
            if alternate.size is not None:
                self.resize(alternate.size)
            self._add(Output(alternate._all_modes().without_saved().text() + sequence))
        else:
            for action in (*alternate.actions(), Output(sequence)):
                self._add(action)
            self.size = alternate.size or self.size

    def tear(self) -> None:
        """What comes next is left out; of what there is the beginning is kept."""
        if self._torn is None:
            room = HEAD_BYTES - self._head_size
            for action in self._tail:
                text = action.text[: max(room, 0)] if isinstance(action, Output) else ""
                self._head.append(Output(text) if text else action)
                room -= _size(action)
                if room <= 0:
                    break
            self._torn = Modes()
        for text in _texts(self._tail):
            self._torn.see_all(text)
        self._tail.clear()
        self._tail_size = 0

    def actions(self) -> list[Action]:
        """What brings the screen about."""
        first: list[Action] = [] if self._first_size is None else [self._first_size]
        begin: list[Action] = [Output(self._begin + self._modes.text())]
        tail = list(self._tail)
        if self._torn is not None:
            return [*first, *begin, *_whole(self._head), Output(self._torn.text()), *_placed(tail)]
        return [*first, *begin, *self._head, *(tail if self.is_known else _placed(tail))]

    def _forget(self, text: str) -> None:
        """All that there is, and this: the screen is cleared now."""
        self._modes = self._all_modes()
        self._modes.see_all(text)
        if self.size is not None:
            self._first_size = self.size
        self.is_known = True
        self._restart()

    def _all_modes(self) -> Modes:
        modes = self._modes.copy()
        for text in _texts(self._head):
            modes.see_all(text)
        if self._torn is not None:
            modes.update(self._torn)
        for text in _texts(self._tail):
            modes.see_all(text)
        return modes

    def _add(self, action: Action) -> None:
        self._tail.append(action)
        self._tail_size += _size(action)
        while self._tail_size > REPLAY_BYTES and len(self._tail) > 1:
            old = self._tail.popleft()
            self._tail_size -= _size(old)
            if self._torn is None and self.is_known and self._head_size + _size(old) <= HEAD_BYTES:
                self._head.append(old)
                self._head_size += _size(old)
                continue
            if self._torn is None:
                self._torn = Modes()
            for text in _texts([old]):
                self._torn.see_all(text)


def _texts(actions: Iterable[Action]) -> Iterator[str]:
    return (action.text for action in actions if isinstance(action, Output))


def _last(pattern: re.Pattern[Any], text: Any) -> re.Match[Any] | None:
    found = None
    for each in pattern.finditer(text):
        found = each
    return found


def _size(action: Action) -> int:
    return len(action.text) if isinstance(action, Output) else 16


def _whole(actions: list[Action]) -> list[Action]:
    """Without a last sequence that may be cut."""
    if actions and isinstance(last := actions[-1], Output):
        begin = last.text.rfind("\x1b", -COLOUR_CHARACTERS)
        return [*actions[:-1], Output(last.text[:begin] if begin >= 0 else last.text)]
    return actions


def _placed(actions: list[Action]) -> list[Action]:
    """From the first place on at which the cursor's place is known, or a line begins at least."""
    for pattern in (_MOVES, _NEWLINE):
        seen = 0
        for at, action in enumerate(actions):
            if not isinstance(action, Output):
                continue
            if (found := pattern.search(action.text)) is not None:
                return [Output(action.text[found.start() :]), *actions[at + 1 :]]
            seen += len(action.text)
            if pattern is _MOVES and seen > HEAD_BYTES:
                break  # such a program would have moved by now
    return actions
