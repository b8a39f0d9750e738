"""The only wait: it takes strangers along, and tells of the program alone."""

from __future__ import annotations

import os
import signal
import time

from ptyshipper.child.program import ExitStatus, Program, Stopped
from ptyshipper.child.reaper import reap


def test_reaping_takes_strangers_along_and_tells_of_the_program() -> None:
    stranger = os.fork()
    if stranger == 0:
        os._exit(1)
    child = os.fork()
    if child == 0:
        os._exit(5)
    program, changes = Program(child, shares_group=True), []
    deadline = time.monotonic() + 10
    while not changes and time.monotonic() < deadline:
        changes += list(reap(program))
    assert changes == [ExitStatus(5)]
    while time.monotonic() < deadline:
        list(reap(program))
        try:
            os.kill(stranger, 0)
        except ProcessLookupError:
            return
    raise AssertionError("the stranger is a zombie still")


def test_a_stop_is_told_and_a_continue_noticed() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    program = Program(child, shares_group=True)
    os.kill(child, signal.SIGSTOP)
    changes: list[object] = []
    deadline = time.monotonic() + 10
    while not changes and time.monotonic() < deadline:
        changes += list(reap(program))
    assert changes == [Stopped(signal.SIGSTOP)]
    assert program.is_stopped
    program.continue_job(in_foreground=True)
    assert not program.is_stopped
    os.kill(child, signal.SIGKILL)
    while program.pid and time.monotonic() < deadline:
        list(reap(program))
    assert program.pid == 0
