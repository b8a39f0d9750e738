"""The leader of the program's session, where ^Z must work.

A program that leads its own session is alone in an orphaned process group, and the kernel never stops
such a group from a terminal (setpgid(2); credentials(7); kernel/signal.c, is_current_pgrp_orphaned):
^Z would do nothing. Run from a shell, the program is a job whose parent is in its session. So sudo
puts a process between, and so do we: the monitor leads the session, has the program as its child in
a process group of its own, and moves that group to the terminal's foreground when it is told to.

In a container it is the other way round: the program is PID 1 and leads its session, ^Z does nothing,
and no monitor is there (``spawn`` decides).

The monitor is told by signals (``program.CONTINUE_FOREGROUND``, ``CONTINUE_BACKGROUND``; SIGTERM: go)
and tells by reports through a pipe. It loads nothing, holds nothing but its terminal and the pipe.
"""

from __future__ import annotations

import os

from ptyshipper.child.program import (
    CONTINUE_BACKGROUND,
    CONTINUE_FOREGROUND,
    REPORT_DUMPED,
    REPORT_EXITED,
    REPORT_KILLED,
    REPORT_PID,
    REPORT_STOPPED,
    as_report,
)
from ptyshipper.light import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_TERMINAL_FD = 0
_FOREVER_S = 86_400.0
_ORPHANED_WITHIN_S = 0.1
_LISTENED = frozenset(
    {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, CONTINUE_FOREGROUND, CONTINUE_BACKGROUND}
)
_ENDS = {os.CLD_EXITED: REPORT_EXITED, os.CLD_KILLED: REPORT_KILLED, os.CLD_DUMPED: REPORT_DUMPED}


def lead(
    become_program: Callable[[], NoReturn], report_fd: int, *, in_foreground: bool
) -> NoReturn:
    """Be the monitor. Called in the leader of a new session that has the slave on 0, 1 and 2.

    Args:
        become_program: execs, and ends the process itself where that fails.
        report_fd: where reports go.
        in_foreground: whether the program begins in the terminal's foreground.
    """
    wrapper_pid = os.getppid()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        if in_foreground:
            os.tcsetpgrp(_TERMINAL_FD, os.getpid())
        become_program()
    _group_exists(pid)
    if in_foreground:
        _bring_to_foreground(pid)
    # The user's descriptors, the error pipe, ptyprocess's own: an end held here would never be closed.
    # A limit that was lowered leaves open ones above it, so it is no bound.
    os.closerange(3, report_fd)
    os.closerange(report_fd + 1, _highest_fd() + 1)
    os.write(report_fd, as_report(REPORT_PID, pid))
    is_hung_up = False
    while True:
        info = signal.sigtimedwait(_LISTENED, _ORPHANED_WITHIN_S if is_hung_up else _FOREVER_S)
        if os.getppid() != wrapper_pid:
            os._exit(0)
        if info is None:
            continue
        if info.si_signo == signal.SIGCHLD:
            _report_changes(pid, report_fd)
        elif info.si_signo == CONTINUE_FOREGROUND:
            _bring_to_foreground(pid)
            _signal_job(pid, signal.SIGCONT)
        elif info.si_signo == CONTINUE_BACKGROUND:
            _signal_job(pid, signal.SIGCONT)
        elif info.si_signo == signal.SIGTERM:
            os._exit(0)
        elif not is_hung_up:
            # The kernel tells a session's leader alone (drivers/tty/tty_jobctrl.c). The master was
            # closed by a wrapper that lives on, or by its death: we are given to another parent only
            # a moment after, so it has to be looked for.
            is_hung_up = True
            _signal_job(pid, signal.SIGHUP)
            _signal_job(pid, signal.SIGCONT)


def _highest_fd() -> int:
    try:
        return max(map(int, os.listdir("/proc/self/fd")))
    except OSError:
        return 65_535


def _signal_job(pid: int, signo: int) -> None:
    """Signal the program's group, or the program where it has left for another group."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, signo)
        except OSError:
            continue
        return


def _group_exists(pid: int) -> None:
    """Parent and child both make the group, so that it is there whoever runs first."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # EACCES: the child made it and has exec'd; ESRCH: it has ended


def _bring_to_foreground(pid: int) -> None:
    """SIGTTOU is blocked here, so the kernel lets a background process do it (tcsetpgrp(3))."""
    try:
        os.tcsetpgrp(_TERMINAL_FD, pid)
    except OSError:
        pass  # the group is gone, or the terminal hung up: SIGCHLD or SIGHUP tells which


def _report_changes(pid: int, report_fd: int) -> None:
    """Report every change of the program. Its end is left unwaited-for (WNOWAIT): while the zombie
    is there its pid can't become another's, so the wrapper can't signal a stranger.

    So a change is looked at first and taken second. Asking for stops alone would not do: the kernel
    answers ECHILD where the only child is a zombie (kernel/exit.c, wait_consider_task).
    """
    while True:
        change = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if change is None:
            return
        if change.si_code in _ENDS:
            os.write(report_fd, as_report(_ENDS[change.si_code], change.si_status))
            os.closerange(0, 3)  # the slave: held on, the end of its output would never show
            return
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
        os.write(report_fd, as_report(REPORT_STOPPED, change.si_status))
