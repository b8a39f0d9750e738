"""The only wait in the program: a second one would take the first one's exit status (cpython#87744).

As PID 1, or as a subreaper, every orphan of the container becomes our child, and a zombie where
nobody waits for it. So it is always everyone who is waited for.
"""

from __future__ import annotations

import os

from ptyshipper.child.program import Change, ExitStatus, Program, Stopped
from ptyshipper.child.signals import ALL, Policy, policy
from ptyshipper.light import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_MS = 50
_READ_BYTES = 65_536


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


def see_out(program: Program) -> ExitStatus:
    """Pass on what the program prints, and the signals that come, until it has ended: what is left to
    do where the pump has failed or can't be loaded. Loads nothing itself.

    Signals are asked for, 20 times a second: whoever took them before may have failed as well.
    """
    outlets = {conduit.read_fd: conduit.fd for conduit in program.conduits}
    if program.master_fd >= 0:
        outlets[program.master_fd] = 1 if 1 not in outlets.values() else 2
    ended: ExitStatus | None = None
    while ended is None or _pass_on(outlets, 0):
        _pass_on(outlets, _LOOK_MS)
        while info := signal.sigtimedwait(ALL, 0):
            if ended is None and policy(info.si_signo) != Policy.CHILD:
                program.send(info.si_signo)
        if ended is None:
            ended = _end_of(program)
    return ended


def _pass_on(outlets: dict[int, int], wait_ms: int) -> bool:
    """Write out what can be read within a moment; whether there was anything."""
    import select

    ready = select.poll()
    for fd in outlets:
        ready.register(fd, select.POLLIN)
    moved = False
    for fd, _ in ready.poll(wait_ms):
        try:
            data = os.read(fd, _READ_BYTES)
            if not data:
                del outlets[fd]
            while data:
                moved = True
                data = data[os.write(outlets[fd], data) :]
        except BlockingIOError:
            pass
        except OSError:  # EIO ends a pty; else nobody reads outside, or the pump had closed it
            del outlets[fd]
    return moved


def _end_of(program: Program) -> ExitStatus | None:
    import select

    if program.report_fd >= 0:
        ready = select.poll()
        ready.register(program.report_fd, select.POLLIN)
        changes = program.read_reports() if ready.poll(0) else iter(())
    else:
        changes = reap(program)
    for change in changes:
        if isinstance(change, ExitStatus):
            program.release_slaves()
            return change
    return None
