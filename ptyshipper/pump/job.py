"""Job control: the shell outside sees us stop, go on, come and go as it would see the program.

The decisions are sudo's (exec_pty.c, suspend_parent.c): whether the terminal is ours depends on
whether we are in its foreground now, never on what we did before (sudo-rs#1598).
"""

from __future__ import annotations

import os
import signal
from _thread import get_ident
from collections.abc import Callable
from time import monotonic

from ptyshipper.child.program import Program
from ptyshipper.child.terminal import Terminal

_TERMINAL_STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_OWN_RESUME_S = 0.5
"""The SIGCONT that continued us reaches the queue within this time of it."""

_WANTS_TERMINAL = frozenset({signal.SIGTTIN, signal.SIGTTOU})


class Job:
    """The program as a job of the shell outside.

    Args:
        put_typed: takes what was typed before the terminal was ours.
        show_all: writes out what is pending, before the shell prints its prompt over it.
    """

    def __init__(
        self,
        program: Program,
        terminal: Terminal | None,
        put_typed: Callable[[bytes], None],
        show_all: Callable[[], None],
    ) -> None:
        self._program = program
        self._terminal = terminal
        self._put_typed = put_typed
        self._show_all = show_all
        self._resumed_at_s = -_OWN_RESUME_S
        self._expected_stop = 0

    def begin(self) -> None:
        """Take the terminal where the program begins in its foreground."""
        if self._terminal is not None and not self._program.begins_behind:
            self._put_typed(self._terminal.make_raw())

    def stopped(self, signo: int) -> None:
        """The program was stopped: give it the terminal that it asked for, or stop with it.

        We stop only where somebody is there to continue us: a shell, whose job we are. A program
        without a terminal of its own that stops itself is continued by whoever it arranged for,
        and that one does not know of us.
        """
        if not self._stops_along(signo):
            return
        terminal = self._terminal
        if terminal is not None:
            if signo in _WANTS_TERMINAL and terminal.in_foreground():
                self._go_on()
                return
            self._show_all()
            terminal.restore()
        self._expected_stop = 0
        self._stop_ourselves(signo)
        self._resumed_at_s = monotonic()
        self._go_on()

    def _stops_along(self, signo: int) -> bool:
        if self._program.shares_group:
            return signo == self._expected_stop
        return self._program.monitor_pid > 0

    def told_to_stop(self, signo: int, *, by_kernel: bool) -> None:
        """We, in the program's own group, were told to stop, and so was or will be the program."""
        self._expected_stop = signo
        if by_kernel or self._program.is_stopped:
            self.stopped(signo)

    def took_continue(self) -> bool:
        """SIGCONT came. True where it was for us: the one that ended our own stop, after which the
        program was continued already, or one for a program that is stopped. Else it is the program's.
        """
        if monotonic() - self._resumed_at_s < _OWN_RESUME_S:
            self._resumed_at_s = -_OWN_RESUME_S
        elif self._program.is_stopped:
            self._go_on()
        else:
            return False
        return True

    def _go_on(self) -> None:
        in_foreground = True
        if self._terminal is not None:
            in_foreground = self._terminal.in_foreground()
            if in_foreground:
                self._put_typed(self._terminal.make_raw())
                self._program.set_winsize(self._terminal.winsize())
        if self._program.is_stopped:
            self._program.continue_job(in_foreground=in_foreground)

    def _stop_ourselves(self, signo: int) -> None:
        """Stop this process as the signal would have, and return when it is continued.

        The whole process group stops as it would for a key, unless the signal reached it already.
        Our own stop is aimed at this thread: the signal thread would swallow one aimed at the
        process. It is the signal itself and not SIGSTOP, so that the kernel, which never stops
        an orphaned group or PID 1 by it, does not stop us for ever either.
        """
        if signo not in _TERMINAL_STOPS:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if not self._program.shares_group:
            os.killpg(0, signo)
        signal.pthread_kill(get_ident(), signo)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signo})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signo})
