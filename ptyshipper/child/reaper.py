"""The only wait in the program: a second one would take the first one's exit status (cpython#87744).

As PID 1, or as a subreaper, every orphan of the container becomes our child, and a zombie where
nobody waits for it. So it is always everyone who is waited for.
"""

from __future__ import annotations

import os

from ptyshipper.child.program import Change, ExitStatus, Program, Stopped
from ptyshipper.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def reap(program: Program) -> Iterator[Change]:
    """Wait for every child that has changed, without blocking; yield what concerns the program."""
    what = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, what)
        except ChildProcessError:
            return
        if info is None:
            return
        if info.si_pid != program.pid or program.monitor_pid:
            continue
        if info.si_code == os.CLD_EXITED:
            yield program.ended(ExitStatus(info.si_status))
        elif info.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            dumped = info.si_code == os.CLD_DUMPED
            yield program.ended(ExitStatus(0, info.si_status, dumped))
        elif info.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED):
            program.is_stopped = True
            yield Stopped(info.si_status)
        elif info.si_code == os.CLD_CONTINUED:
            program.is_stopped = False


def wait_for_end(program: Program) -> ExitStatus:
    """Wait for the program and nothing else: what is left to do where the pump has failed.

    Its pipes break, or it would wait for ever for somebody to read them.
    """
    for conduit in program.conduits:
        try:
            os.close(conduit.read_fd)
        except OSError:
            pass  # the pump had closed it
    if program.report_fd >= 0:
        while True:
            for change in program.read_reports():
                if isinstance(change, ExitStatus):
                    return change
    status = os.waitid(os.P_PID, program.pid, os.WEXITED)
    assert status is not None
    if status.si_code == os.CLD_EXITED:
        return program.ended(ExitStatus(status.si_status))
    return program.ended(ExitStatus(0, status.si_status, status.si_code == os.CLD_DUMPED))
