"""The terminal outside: its modes, its size, whether it is ours to use at the moment.

Only the foreground process group may touch a terminal's modes. Because every signal is blocked here,
the kernel would not stop us with SIGTTOU when we do it from the background (tcsetattr(3)): it would
do it, and break the shell's terminal. So each change is preceded by the question (sudo#237, #552).
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios

from ptyshipper.child.stdio import NO_SIZE
from ptyshipper.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from ptyshipper.child.stdio import StdioPlan

if TYPE_CHECKING:
    Attributes = list[Any]

_TYPED_LINES = 256
"""More are not read ahead: on a terminal that hung up every read gives an empty line."""


def raw_from(attributes: Attributes) -> Attributes:
    """The same terminal in raw mode, as cfmakeraw(3) makes it."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = attributes
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR
        | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


def read_winsize(fd: int) -> bytes:
    """The window size of the terminal ``fd``, verbatim; ``NO_SIZE`` where it has none."""
    try:
        return fcntl.ioctl(fd, termios.TIOCGWINSZ, NO_SIZE)
    except OSError:
        return NO_SIZE


def write_winsize(fd: int, winsize: bytes) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, winsize)


def rows_cols(winsize: bytes) -> tuple[int, int]:
    rows, cols = memoryview(winsize).cast("H")[:2]
    return rows, cols


def reopen(fd: int, flags: int) -> int:
    """A description of our own for what ``fd`` is open on, non-blocking; -1 where that can't be.

    O_NONBLOCK must never be set on ``fd`` itself: it belongs to the open file description, which the
    shell and every other process on this terminal share (corefx#23539).
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


class Terminal:
    """The terminal outside, found on the first of 0, 1, 2 that is one.

    ``fd`` is a non-blocking description of our own where the system lets us have one
    (``never_blocks``), else the inherited descriptor itself, blocking as it is.
    """

    def __init__(self, inherited_fd: int) -> None:
        own = reopen(inherited_fd, os.O_RDWR)
        self.never_blocks = own >= 0
        self.fd = own if own >= 0 else inherited_fd
        self.is_raw = False
        self.attributes: Attributes = termios.tcgetattr(self.fd)

    def in_foreground(self) -> bool:
        """Whether we may use it: our group is in its foreground, or it controls no session of ours."""
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError as error:
            return error.errno == errno.ENOTTY  # no job control applies; EIO: it hung up

    def make_raw(self) -> bytes:
        """Hand every byte through from now on. The modes found now are what ``restore`` goes back to.

        Returns what was typed before, in whole lines, as it was typed. A ^D among them would be read
        as a NUL once the terminal is raw (drivers/tty/n_tty.c), so they are read first.

        TCSANOW: waiting for output to drain would hang on a terminal that is stopped.
        """
        if self.is_raw or not self.in_foreground():
            return b""
        try:
            self.attributes = termios.tcgetattr(self.fd)
            typed = self._typed_lines()
            termios.tcsetattr(self.fd, termios.TCSANOW, raw_from(self.attributes))
        except termios.error:
            return b""  # it hung up just now, which poll tells the pump
        self.is_raw = True
        return typed

    def _typed_lines(self) -> bytes:
        """The whole lines that wait to be read. One that ends without a line feed was ended by ^D."""
        lflag, control = self.attributes[3], self.attributes[6]
        if not self.never_blocks or not lflag & termios.ICANON:
            return b""
        lines: list[bytes] = []
        while len(lines) < _TYPED_LINES:
            try:
                line = os.read(self.fd, 4096)
            except OSError:
                break
            end_of_file = b"" if line.endswith(b"\n") else control[termios.VEOF]
            lines.append(line + end_of_file)
        return b"".join(lines)

    def restore(self) -> None:
        """Go back to the modes that ``make_raw`` found; nothing from the background."""
        if not self.is_raw:
            return
        self.is_raw = False
        try:
            if self.in_foreground():
                termios.tcsetattr(self.fd, termios.TCSANOW, self.attributes)
        except (OSError, termios.error):
            pass  # it hung up: there are no modes left to restore

    def winsize(self) -> bytes:
        return read_winsize(self.fd)


def outer_terminal(stdio: StdioPlan) -> Terminal | None:
    """The terminal that the program's own one stands in for, None where it gets none."""
    if not stdio.has_terminal:
        return None
    return Terminal(stdio.tty_outside.index(True))
