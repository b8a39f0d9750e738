"""What each of the program's descriptors 0, 1 and 2 becomes.

The rule, descriptor by descriptor (mode ``auto``): a terminal becomes the program's own terminal,
a pty; stdout and stderr that are none become pipes; stdin that is none is simply inherited.
``always`` puts stdout and stderr on ptys of their own instead of pipes, ``never`` knows no ptys at
all. Where stdout and stderr are one and the same pipe or file, they stay one: told apart they would
arrive in another order than they were written in. Only ``always`` parts them, because it is asked to.
"""

from __future__ import annotations

import os
import stat

from ptyshipper.light import TYPE_CHECKING, Fields

if TYPE_CHECKING:  # config brings pathlib and urllib along, which the program need not wait for
    from ptyshipper.config import TtyMode


NO_SIZE = bytes(8)
"""What there is of a terminal's size where it has none: rows, cols, xpixel, ypixel, each a native u16
(ioctl_tty(2)). Here, since a program without a terminal does not wait for ``terminal`` to be loaded."""


class Become:
    """What a descriptor is in the program."""

    TERMINAL = "the program's controlling terminal"
    INHERITED = "what it is outside"
    PIPE = "a pipe of its own"
    PTY = "a pty of its own, without line editing"
    SAME_AS_STDOUT = "whatever stdout is"
    CLOSED = "closed, as it was found"


class StdioPlan(Fields):
    """What 0, 1 and 2 become, and what they are outside.

    ``shares_job``: a pipe on 0 or 1 while another is a terminal: most likely a pipeline, whose other
    members use the same terminal. The program then begins in the background of its own (sudo does so).
    """

    __slots__ = ("become", "shares_job", "tty_outside")

    def __init__(
        self,
        become: tuple[str, str, str],
        tty_outside: tuple[bool, bool, bool],
        shares_job: bool,
    ) -> None:
        self.become = become
        self.tty_outside = tty_outside
        self.shares_job = shares_job

    @property
    def has_terminal(self) -> bool:
        return Become.TERMINAL in self.become

    @property
    def outside(self) -> list[str]:
        """What each is outside, as a recording tells it: a ``terminal``, ``closed``, ``stdout`` (2 where it
        is the same as 1) or ``other``."""
        found = []
        for become, is_tty in zip(self.become, self.tty_outside, strict=True):
            if become == Become.CLOSED:
                found.append("closed")
            elif become == Become.SAME_AS_STDOUT:
                found.append("stdout")
            else:
                found.append("terminal" if is_tty else "other")
        return found

    @property
    def tty_mask(self) -> int:
        """Bit n: the program's descriptor n is a terminal."""
        mask = 0
        for fd, become in enumerate(self.become):
            if become == Become.SAME_AS_STDOUT:
                become = self.become[1]
            terminal = become in (Become.TERMINAL, Become.PTY)
            inherited = become == Become.INHERITED and self.tty_outside[fd]
            mask |= (terminal or inherited) << fd
        return mask


def _status(fd: int) -> os.stat_result | None:
    try:
        return os.fstat(fd)
    except OSError:
        return None


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)


def plan(mode: TtyMode, closed: frozenset[int] = frozenset(), *, merges: bool = True) -> StdioPlan:
    """What the program gets, from what is on 0, 1 and 2 now, and which of them were found closed.

    ``merges``: stdout and stderr become one pipe where they are one file outside.
    """
    found = [None if fd in closed else _status(fd) for fd in range(3)]
    tty = tuple(status is not None and os.isatty(fd) for fd, status in enumerate(found))
    become = []
    for fd, status in enumerate(found):
        if status is None:
            become.append(Become.CLOSED)
        elif tty[fd] and mode != "never":
            become.append(Become.TERMINAL)
        elif fd == 0:
            become.append(Become.INHERITED)
        else:
            become.append(Become.PTY if mode == "always" else Become.PIPE)
    out, err = found[1], found[2]
    both = become[1:] == [Become.PIPE, Become.PIPE]
    if merges and both and out and err and _same_file(out, err):
        become[2] = Become.SAME_AS_STDOUT
    piped = any(status and stat.S_ISFIFO(status.st_mode) for status in found[:2])
    return StdioPlan(
        (become[0], become[1], become[2]),
        (tty[0], tty[1], tty[2]),
        shares_job=piped and Become.TERMINAL in become,
    )


def occupy_closed() -> frozenset[int]:
    """Put nothing on those of 0, 1, 2 that are closed, so that nothing of ours lands there.

    Comes before anything else is opened. The program still finds them closed (``Become.CLOSED``).
    """
    closed = frozenset(fd for fd in range(3) if _status(fd) is None)
    for fd in sorted(closed):
        put_null(fd)
    return closed


def put_null(fd: int) -> None:
    """Put /dev/null on ``fd``, or, where a container has none, an end of a pipe to nowhere."""
    try:
        opened = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)]
    except OSError:
        opened = list(os.pipe())
    if fd not in opened:
        os.dup2(opened[0], fd, inheritable=False)
    for other in opened:
        if other != fd:
            os.close(other)
