"""The leader of the program's session: it reports, obeys, and goes when it is told or left alone."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from ptyshipper.child import monitor
from ptyshipper.child.program import (
    CONTINUE_BACKGROUND,
    CONTINUE_FOREGROUND,
    REPORT_BYTES,
    REPORT_EXITED,
    REPORT_KILLED,
    REPORT_PID,
    REPORT_STOPPED,
    reports_in,
)
from ptyshipper.child.signals import ALL
from tests.support.patience import PATIENCE_S, until


class Monitored:
    """A monitor on a pty of its own, with a program of ours below it."""

    def __init__(self, program: Callable[[], object], *, in_foreground: bool = True) -> None:
        sys.stdout.flush()
        self.report_fd, report_write = os.pipe()
        self.pid, self.master = os.forkpty()
        if self.pid == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
            monitor.lead(lambda: _become(program), report_write, in_foreground=in_foreground)
        os.close(report_write)
        what, self.program_pid = self.report()
        assert what == REPORT_PID

    def report(self) -> tuple[bytes, int]:
        assert select.select([self.report_fd], [], [], PATIENCE_S)[0], "no report comes"
        ((what, value),) = reports_in(os.read(self.report_fd, REPORT_BYTES))
        return what, value

    def foreground_group(self) -> int:
        return os.tcgetpgrp(self.master)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.report_fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # the test has seen it out


def _become(program: Callable[[], object]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = program()
    os._exit(code if isinstance(code, int) else 0)


def sleep() -> None:
    signal.pause()


@pytest.fixture
def monitored() -> Iterator[Callable[..., Monitored]]:
    made: list[Monitored] = []

    def make(program: Callable[[], object], **how: bool) -> Monitored:
        made.append(Monitored(program, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_program_has_a_group_of_its_own_in_the_foreground(
    monitored: Callable[..., Monitored],
) -> None:
    one = monitored(sleep)
    assert os.getpgid(one.program_pid) == one.program_pid
    assert os.getsid(one.program_pid) == one.pid
    assert one.foreground_group() == one.program_pid


def test_behind_the_foreground_it_is_brought_there_when_told(
    monitored: Callable[..., Monitored],
) -> None:
    one = monitored(lambda: os.read(0, 1) and 5, in_foreground=False)
    assert one.foreground_group() == one.pid
    assert one.report() == (REPORT_STOPPED, signal.SIGTTIN)
    os.kill(one.pid, CONTINUE_FOREGROUND)
    until(lambda: one.foreground_group() == one.program_pid, "it is in the foreground")
    os.write(one.master, b"\n")
    assert one.report() == (REPORT_EXITED, 5)


def test_a_key_stops_it_and_it_is_continued_behind(monitored: Callable[..., Monitored]) -> None:
    one = monitored(sleep)
    os.write(one.master, b"\x1a")
    assert one.report() == (REPORT_STOPPED, signal.SIGTSTP)
    os.kill(one.pid, CONTINUE_BACKGROUND)
    os.kill(one.program_pid, signal.SIGTERM)
    assert one.report() == (REPORT_KILLED, signal.SIGTERM)


def test_an_end_right_at_the_start_is_reported(monitored: Callable[..., Monitored]) -> None:
    """The kernel answers ECHILD to a wait for stops where the only child is a zombie."""
    for code in range(20):
        assert monitored(lambda code=code: code).report() == (REPORT_EXITED, code)


def test_it_keeps_the_zombie_until_it_goes(monitored: Callable[..., Monitored]) -> None:
    one = monitored(lambda: 0)
    assert one.report() == (REPORT_EXITED, 0)
    os.kill(one.program_pid, 0)  # still there, so its pid is nobody else's
    os.kill(one.pid, signal.SIGTERM)
    assert os.waitpid(one.pid, 0)[1] == 0
    until(lambda: not os.path.exists(f"/proc/{one.program_pid}"), "the zombie is gone with it")


def test_a_hang_up_alone_does_not_end_it(monitored: Callable[..., Monitored]) -> None:
    """Its wrapper is still there and waits for the program's end."""
    one = monitored(
        lambda: (signal.signal(signal.SIGHUP, signal.SIG_IGN) and None) or signal.pause()
    )
    until(lambda: _ignores_hangup(one.program_pid), "the program is set up")
    os.kill(one.pid, signal.SIGHUP)
    os.kill(one.program_pid, signal.SIGTERM)
    assert one.report() == (REPORT_KILLED, signal.SIGTERM)


def _ignores_hangup(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        ignored = next(line for line in file if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) & 1)
