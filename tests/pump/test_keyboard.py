"""What is typed, on its way: bounded, never blocking, only while it is ours."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ptyshipper.child.terminal import Terminal
from ptyshipper.pump.keyboard import QUEUE_BYTES, Keyboard


class Ends(NamedTuple):
    outer_master: int
    terminal: Terminal
    inner_slave: int
    keyboard: Keyboard


@pytest.fixture
def ends() -> Iterator[Ends]:
    outer_master, outer_slave = os.openpty()
    inner_master, inner_slave = os.openpty()
    os.set_blocking(inner_master, False)
    tty.setraw(inner_slave)
    terminal = Terminal(outer_slave)
    terminal.make_raw()
    yield Ends(outer_master, terminal, inner_slave, Keyboard(terminal, inner_master))
    for fd in {outer_master, outer_slave, inner_master, inner_slave, terminal.fd}:
        try:
            os.close(fd)
        except OSError:
            pass  # the test has closed it


def test_a_key_passes(ends: Ends) -> None:
    os.write(ends.outer_master, b"k\x04\x03")
    ends.keyboard.read()
    assert os.read(ends.inner_slave, 10) == b"k\x04\x03"
    assert not ends.keyboard.has_queued


def test_a_program_that_reads_nothing_bounds_the_queue(ends: Ends) -> None:
    os.set_blocking(ends.outer_master, False)
    while ends.keyboard.wants_input:
        try:
            os.write(ends.outer_master, b"x" * 4096)
        except BlockingIOError:
            pass
        ends.keyboard.read()
    taken = 0
    os.set_blocking(ends.inner_slave, False)
    while ends.keyboard.has_queued or taken < QUEUE_BYTES:
        ends.keyboard.push()
        try:
            taken += len(os.read(ends.inner_slave, 4096))
        except BlockingIOError:
            pass
    assert taken >= QUEUE_BYTES


def test_nothing_is_read_behind_the_foreground(ends: Ends) -> None:
    assert ends.keyboard.wants_input
    ends.terminal.restore()
    assert not ends.keyboard.wants_input


def test_a_hang_up_is_noticed(ends: Ends) -> None:
    os.close(ends.outer_master)
    ends.keyboard.read()
    assert ends.keyboard.hung_up
    assert not ends.keyboard.wants_input


def test_what_nobody_will_read_is_dropped(ends: Ends) -> None:
    os.close(ends.inner_slave)
    ends.keyboard.put(b"typed ahead")
    ends.keyboard.push()
    assert termios.tcgetattr(ends.terminal.fd)
