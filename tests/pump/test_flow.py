"""A stream on its way: recorded before it is written, held while it must wait, broken off whole."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.child.terminal import Terminal
from ptyshipper.pump.flow import QUEUE_BYTES, Flow, TerminalFlow
from ptyshipper.pump.outlet import Outlet
from ptyshipper.records import Kind
from tests.support.recording_sink import RecordingSink


class Pipes:
    """A program's end, a flow, and a reader's end."""

    def __init__(self) -> None:
        self.program_read, self.program = os.pipe()
        os.set_blocking(self.program_read, False)
        self.reader, self.outside = os.pipe()
        self.outlet = Outlet(self.outside)
        self.flow = Flow(self.program_read, Kind.STDOUT, self.outlet)
        self.sink = RecordingSink()

    def close(self) -> None:
        self.flow.stop_reading()
        for fd in (self.program, self.reader, self.outside, self.outlet.poll_fd):
            try:
                os.close(fd)
            except OSError:
                pass  # the test has closed it


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_what_is_read_is_recorded_then_written(pipes: Pipes) -> None:
    os.write(pipes.program, b"hello")
    assert pipes.flow.read(pipes.sink, 12) == 5
    assert pipes.sink.records == [(Kind.STDOUT, 12, b"hello")]
    assert pipes.flow.queued_bytes == 5
    assert pipes.flow.push()
    assert os.read(pipes.reader, 100) == b"hello"
    assert not pipes.flow.queued_bytes


def test_nothing_there_is_nothing_read(pipes: Pipes) -> None:
    assert pipes.flow.read(pipes.sink, 0) == 0
    assert pipes.flow.read_fd >= 0


def test_the_end_is_an_end(pipes: Pipes) -> None:
    os.close(pipes.program)
    assert pipes.flow.read(pipes.sink, 0) == 0
    assert pipes.flow.ended


def test_a_stalled_reader_stops_the_reading(pipes: Pipes) -> None:
    total = 0
    while pipes.flow.wants_input:
        os.write(pipes.program, bytes(8_000))
        total += pipes.flow.read(pipes.sink, 0)
        assert pipes.flow.push()
    assert QUEUE_BYTES <= pipes.flow.queued_bytes < QUEUE_BYTES + 8_000
    taken = 0
    while taken < total:
        taken += len(os.read(pipes.reader, 65_536))
        assert pipes.flow.push()
    assert pipes.flow.queued_bytes == 0


def test_breaking_off_records_what_was_written_by_then(pipes: Pipes) -> None:
    os.write(pipes.program, b"a" * 1000)
    pipes.flow.read(pipes.sink, 0)
    os.close(pipes.reader)
    os.write(pipes.program, b"b" * 60_000)
    assert not pipes.flow.push()
    pipes.flow.break_off(pipes.sink, 1)
    assert pipes.sink.output == b"a" * 1000 + b"b" * 60_000
    assert pipes.flow.ended
    with pytest.raises(BrokenPipeError):
        os.write(pipes.program, b"c")


def test_a_pty_is_read_pages_at_a_time_and_ends_with_eio() -> None:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    reader, outside = os.pipe()
    outlet = Outlet(outside)
    flow, sink = Flow(master, Kind.STDOUT, outlet), RecordingSink()
    os.write(slave, b"x" * 8190)
    os.close(slave)
    while not flow.read_fd < 0:
        flow.read(sink, 0)
    assert sink.output == b"x" * 8190
    for fd in (reader, outside, outlet.poll_fd):
        os.close(fd)


@given(lines=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_behind_the_foreground_a_terminal_shows_what_it_would_have(
    lines: bytes, cuts: list[int]
) -> None:
    """The program's terminal turns LF into CR LF, and so does the one outside: shown is CR LF once,
    however the bytes are cut."""
    inner_master, inner_slave = os.openpty()
    outer_master, outer_slave = os.openpty()
    terminal = Terminal(outer_slave)
    flow = TerminalFlow(inner_master, Outlet(terminal.fd, terminal), terminal)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    cooked = lines.replace(b"\n", b"\r\n")
    cooked_bounds = [len(lines[:bound].replace(b"\n", b"\r\n")) for bound in bounds]
    # cut inside a CR LF, too
    pieces = [cooked[a:b] for a, b in pairwise(cooked_bounds)]
    if pieces and pieces[0].endswith(b"\r\n") and len(pieces) > 1:
        pieces[0], pieces[1] = pieces[0][:-1], b"\n" + pieces[1]
    shown = b"".join(flow._uncooked(piece) for piece in pieces if piece)
    shown += flow._held_cr
    for fd in (inner_master, inner_slave, outer_master, outer_slave, terminal.fd):
        os.close(fd)
    assert shown == lines
