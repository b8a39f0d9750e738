"""The handle: what a monitor reports, what becomes of signals, sizes and slaves."""

from __future__ import annotations

import os
import signal
import time

import pytest

from ptyshipper.child.program import (
    REPORT_DUMPED,
    REPORT_EXITED,
    REPORT_KILLED,
    REPORT_STOPPED,
    ExitStatus,
    Program,
    Stopped,
    as_report,
)
from ptyshipper.child.stdio import NO_SIZE
from ptyshipper.child.terminal import read_winsize


@pytest.mark.parametrize(
    ("status", "shell"),
    [(ExitStatus(0), 0), (ExitStatus(255), 255), (ExitStatus(0, 11, True), 139)],
)
def test_a_shells_status(status: ExitStatus, shell: int) -> None:
    assert status.shell_status == shell


def reported(*reports: bytes) -> tuple[Program, list[object]]:
    read_end, write_end = os.pipe()
    os.write(write_end, b"".join(reports))
    program = Program(1 << 22, shares_group=False, monitor_pid=1 << 22, report_fd=read_end)
    os.close(write_end)
    changes: list[object] = []
    while program.report_fd >= 0:
        changes += program.read_reports()
    return program, changes


def test_reports_become_changes_and_an_end_takes_the_pid() -> None:
    stopped = as_report(REPORT_STOPPED, signal.SIGTSTP)
    for report, status in (
        (as_report(REPORT_EXITED, 3), ExitStatus(3)),
        (as_report(REPORT_KILLED, 9), ExitStatus(0, 9)),
        (as_report(REPORT_DUMPED, 11), ExitStatus(0, 11, True)),
    ):
        program, changes = reported(stopped, report)
        assert changes == [Stopped(signal.SIGTSTP), status]
        assert (program.pid, program.report_fd) == (0, -1)


def test_a_monitor_that_is_gone_took_the_terminal_along() -> None:
    assert reported()[1] == [ExitStatus(0, signal.SIGHUP)]


def test_an_ended_program_is_never_signalled() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    program = Program(child, shares_group=True)
    program.ended(ExitStatus(0))
    program.send(signal.SIGKILL)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_stranger_and_a_dead_one_are_no_error() -> None:
    Program(1 << 22, shares_group=False).send(signal.SIGTERM)
    Program(1 << 22, shares_group=False).send_to_group(signal.SIGTERM)


def test_the_size_is_set_where_it_is_one_and_new() -> None:
    master, slave = os.openpty()
    program = Program(1 << 22, master_fd=master, shares_group=False)
    size = memoryview(bytearray(8)).cast("H")
    size[0], size[1] = 40, 100
    assert program.set_winsize(bytes(size))
    assert read_winsize(slave) == bytes(size)
    assert not program.set_winsize(bytes(size))
    assert not program.set_winsize(NO_SIZE)
    assert read_winsize(slave) == bytes(size)
    os.close(master)
    os.close(slave)


def test_a_held_slave_keeps_the_end_away() -> None:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    program = Program(1 << 22, master_fd=master, shares_group=False)
    program.hold_slave()
    os.write(slave, b"last")
    os.close(slave)
    assert os.read(master, 100) == b"last"
    with pytest.raises(BlockingIOError):
        os.read(master, 100)
    program.release_slaves()
    with pytest.raises(OSError, match="Input/output"):
        os.read(master, 100)
    os.close(master)
