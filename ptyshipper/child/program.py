"""The handle to the running program: its ids, its descriptors, what became of it.

Started directly the program is our child and we wait for it. Under a monitor (see ``monitor``) it is
the monitor's child, and every change comes as a report through a pipe. Either way what comes out are
the same ``Change`` values.
"""

from __future__ import annotations

import os
import sys

from ptyshipper.child.stdio import NO_SIZE
from ptyshipper.light import TYPE_CHECKING, Fields, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPORT_BYTES = 5
"""A monitor's report: what happened in one byte, and the pid, the signal or the waitid(2) status."""

REPORT_PID = b"p"
REPORT_STOPPED = b"s"
REPORT_EXITED = b"x"
REPORT_KILLED = b"k"
REPORT_DUMPED = b"d"


def as_report(what: bytes, value: int) -> bytes:
    """A report as it goes through the pipe. The program would have to wait for ``struct`` to be loaded."""
    return what + value.to_bytes(REPORT_BYTES - 1, sys.byteorder, signed=True)


def reports_in(data: bytes) -> Iterator[tuple[bytes, int]]:
    """What whole reports say, one after the other."""
    for at in range(0, len(data) - REPORT_BYTES + 1, REPORT_BYTES):
        value = data[at + 1 : at + REPORT_BYTES]
        yield data[at : at + 1], int.from_bytes(value, sys.byteorder, signed=True)


class ExitStatus(Fields):
    """How the program ended: by ``code``, or by ``signal`` where that is not 0."""

    __slots__ = ("code", "core_dumped", "signal")

    def __init__(self, code: int, signal: int = 0, core_dumped: bool = False) -> None:
        self.code = code
        self.signal = signal
        self.core_dumped = core_dumped

    @property
    def shell_status(self) -> int:
        """What a shell calls it: the code, or 128 and the signal's number."""
        return 128 + self.signal if self.signal else self.code


class Stopped(Fields):
    """The program was stopped by this signal."""

    __slots__ = ("signo",)

    def __init__(self, signo: int) -> None:
        self.signo = signo


Change = ExitStatus | Stopped


class Conduit(Fields):
    """Where the program's stdout or stderr is read from.

    ``slave_fd`` is -1 for a pipe; for a pty it is ours to hold until the program has ended, because
    EIO on a master is a state that comes and goes with its slaves (tty_ioctl(4); peers' finding).
    """

    __slots__ = ("fd", "read_fd", "slave_fd")

    def __init__(self, fd: int, read_fd: int, slave_fd: int) -> None:
        self.fd = fd
        self.read_fd = read_fd
        self.slave_fd = slave_fd


class Program:
    """The running program.

    Attributes:
        pid: its process id, 0 once it has ended, so that no signal can meet a stranger.
        master_fd: the master of its terminal, -1 where it has none.
        slave_fd: the slave, held for the same reason as a conduit's; -1 where it has none.
        conduits: its stdout and stderr where they are no part of the terminal.
        shares_group: it is in our process group and gets what the terminal outside sends to it.
        monitor_pid: the leader of its session, 0 where it leads itself or shares ours.
        report_fd: the monitor's reports, -1 where there is none.
        begins_behind: it began in the background of its terminal.
    """

    def __init__(
        self,
        pid: int,
        *,
        master_fd: int = -1,
        conduits: tuple[Conduit, ...] = (),
        shares_group: bool,
        monitor_pid: int = 0,
        report_fd: int = -1,
        begins_behind: bool = False,
    ) -> None:
        self.pid = pid
        self.master_fd = master_fd
        self.slave_fd = -1
        self.conduits = conduits
        self.shares_group = shares_group
        self.monitor_pid = monitor_pid
        self.report_fd = report_fd
        self.begins_behind = begins_behind
        self.is_stopped = False

    def send(self, signo: int) -> None:
        """Signal the program itself."""
        if self.pid:
            _kill(os.kill, self.pid, signo)

    def send_to_group(self, signo: int) -> None:
        """Signal the program's process group, as a terminal would for a key."""
        if self.pid and not self.shares_group:
            _kill(os.killpg, self.pid, signo)

    def continue_job(self, *, in_foreground: bool) -> None:
        """Let the stopped program go on, in the foreground of its terminal or behind it."""
        self.is_stopped = False
        if self.monitor_pid:
            _kill(
                os.kill,
                self.monitor_pid,
                CONTINUE_FOREGROUND if in_foreground else CONTINUE_BACKGROUND,
            )
        elif self.shares_group:
            self.send(signal.SIGCONT)
        else:
            self.send_to_group(signal.SIGCONT)

    def set_winsize(self, winsize: bytes) -> bool:
        """Give the program's terminal this size; whether the kernel signals it (the size changed)."""
        from ptyshipper.child.terminal import read_winsize, write_winsize

        if self.master_fd < 0 or winsize == NO_SIZE:
            return False
        if winsize == read_winsize(self.master_fd):
            return False
        write_winsize(self.master_fd, winsize)
        return True

    def nudge_foreground(self) -> None:
        """SIGWINCH for the foreground of the program's terminal: the kernel sends none for an
        equal size, but whoever attached anew expects a repaint (moby#19835, abduco#9)."""
        import fcntl
        import termios

        if self.master_fd < 0:
            return
        try:
            answer = fcntl.ioctl(self.master_fd, termios.TIOCGPGRP, bytes(4))
        except OSError:
            return
        group = int.from_bytes(answer, sys.byteorder)
        if group > 0:
            _kill(os.killpg, group, signal.SIGWINCH)

    def hold_slave(self) -> None:
        """Open the terminal's slave by its master, which needs no /dev/pts (ioctl_tty(2), TIOCGPTPEER).

        The program runs already, so failing is no error: without a slave held, a program that closes
        all of its own and opens one again is taken for ended.
        """
        import fcntl

        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self.slave_fd = fcntl.ioctl(self.master_fd, _TIOCGPTPEER, flags)
        except OSError:
            pass  # before Linux 4.13, or no descriptor is to be had

    @property
    def holds_slave(self) -> bool:
        """Whether any of its output comes through a pty."""
        return self.slave_fd >= 0 or any(conduit.slave_fd >= 0 for conduit in self.conduits)

    def release_slaves(self) -> None:
        """Give up every slave that is held: from now on EIO means that nobody writes any more."""
        if self.slave_fd >= 0:
            os.close(self.slave_fd)
            self.slave_fd = -1
        for conduit in self.conduits:
            fd, conduit.slave_fd = conduit.slave_fd, -1
            if fd >= 0:
                os.close(fd)

    def read_reports(self) -> Iterator[Change]:
        """What the monitor has to say now. One that was killed can't tell how the program ends; its
        session is over, which the kernel signals with SIGHUP, so that is what is reported."""
        data = os.read(self.report_fd, 64 * REPORT_BYTES)
        if not data:
            os.close(self.report_fd)
            self.report_fd = -1
            if self.pid:
                yield self.ended(ExitStatus(0, signal.SIGHUP))
        for what, value in reports_in(data):
            if what == REPORT_STOPPED:
                self.is_stopped = True
                yield Stopped(value)
            elif what == REPORT_EXITED:
                yield self.ended(ExitStatus(value))
            elif what in (REPORT_KILLED, REPORT_DUMPED):
                yield self.ended(ExitStatus(0, value, what == REPORT_DUMPED))

    def ended(self, status: ExitStatus) -> ExitStatus:
        self.pid = 0
        return status

    def dismiss_monitor(self) -> None:
        """Let the monitor go. Its end hangs up what is left of the session, so it comes after the
        last byte was read."""
        if self.monitor_pid:
            _kill(os.kill, self.monitor_pid, signal.SIGTERM)
            self.monitor_pid = 0


CONTINUE_FOREGROUND = signal.SIGUSR1
CONTINUE_BACKGROUND = signal.SIGUSR2

_TIOCGPTPEER = 0x20007441 if os.uname().machine.startswith(("mips", "ppc", "sparc")) else 0x5441


def _kill(how: Callable[[int, int], None], pid: int, signo: int) -> None:
    """Send a signal; a program that ended meanwhile, or changed its user, can't get it."""
    try:
        how(pid, signo)
    except (ProcessLookupError, PermissionError):
        pass
