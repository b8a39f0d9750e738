"""The terminal outside: raw and back, sizes, what was typed ahead."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from ptyshipper.child.stdio import Become, StdioPlan
from ptyshipper.child.terminal import (
    NO_SIZE,
    Terminal,
    outer_terminal,
    raw_from,
    read_winsize,
    rows_cols,
    write_winsize,
)
from tests.support.patience import until


@pytest.fixture
def pty() -> Iterator[tuple[int, int]]:
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_raw_is_cfmakeraw_and_nothing_else(pty: tuple[int, int]) -> None:
    attributes = termios.tcgetattr(pty[1])
    raw = raw_from(attributes)
    assert not raw[0] & (termios.ICRNL | termios.IXON | termios.INLCR)
    assert not raw[1] & termios.OPOST
    assert not raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    assert raw[4:6] == attributes[4:6]
    assert (raw[6][termios.VMIN], raw[6][termios.VTIME]) == (1, 0)
    assert attributes == termios.tcgetattr(pty[1])


def test_raw_and_back_on_a_description_of_its_own(pty: tuple[int, int]) -> None:
    before = termios.tcgetattr(pty[1])
    terminal = Terminal(pty[1])
    assert terminal.never_blocks
    assert os.get_blocking(pty[1])
    terminal.make_raw()
    assert termios.tcgetattr(pty[1]) == raw_from(before)
    terminal.restore()
    terminal.restore()
    assert termios.tcgetattr(pty[1]) == before
    os.close(terminal.fd)


def test_lines_typed_ahead_come_along_with_their_end_of_file(pty: tuple[int, int]) -> None:
    terminal = Terminal(pty[1])
    os.write(pty[0], b"one\ntwo\x04\x04part")
    until(lambda: b"part" in bytes(_peek(pty[0])), "the terminal has taken it")
    assert terminal.make_raw() == b"one\ntwo\x04\x04"
    assert os.read(terminal.fd, 100) == b"part"
    os.close(terminal.fd)


_ECHOED = bytearray()


def _peek(master: int) -> bytearray:
    """The echo tells that the line discipline has seen what was typed."""
    os.set_blocking(master, False)
    try:
        _ECHOED.extend(os.read(master, 4096))
    except BlockingIOError:
        pass
    return _ECHOED


def test_a_hung_up_terminal_is_neither_waited_for_nor_an_error() -> None:
    master, slave = os.openpty()
    terminal = Terminal(slave)
    terminal.make_raw()
    os.close(master)
    terminal.restore()
    assert not terminal.is_raw
    os.close(slave)
    os.close(terminal.fd)


def test_sizes_are_kept_to_the_pixel(pty: tuple[int, int]) -> None:
    assert read_winsize(pty[1]) == NO_SIZE
    size = memoryview(bytearray(8)).cast("H")
    size[0], size[1], size[2], size[3] = 24, 80, 800, 480
    write_winsize(pty[0], bytes(size))
    assert read_winsize(pty[1]) == bytes(size)
    assert rows_cols(bytes(size)) == (24, 80)


def test_what_is_no_terminal_has_no_size() -> None:
    read_end, write_end = os.pipe()
    assert read_winsize(read_end) == NO_SIZE
    os.close(read_end), os.close(write_end)


def test_without_a_terminal_there_is_none() -> None:
    become = (Become.INHERITED, Become.PIPE, Become.PIPE)
    assert outer_terminal(StdioPlan(become, (True, False, False), shares_job=False)) is None
