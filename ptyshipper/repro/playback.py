"""The outside of a program that is run again: the terminal or pipes that it had, and what happened there.

The wrapper runs in a process of its own, as a container's first process does: the leader of a session, on
a terminal that begins with the recorded size, or on pipes. What it shows goes to our stdout and
stderr, what is typed here goes to it, and the moments of a timeline come at their times.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import NoReturn

from ptyshipper.child.signals import Arrived, SignalQueue
from ptyshipper.child.terminal import Terminal, write_winsize
from ptyshipper.repro.timeline import Moment, Resize

_READ_BYTES = 65_536
_KEYBOARD_BYTES = 4_096
_END_OF_FILE = b"\x04"
"""What ends a terminal's input, typed where our own stdin has ended, and is no terminal.

Not at once: a ^D that comes before a program has made its terminal raw is read as a NUL, and a shell would
end before it did anything. So it comes when the program should be through, and again, as every read of a
file's end says so."""
_END_EVERY_US = 1_000_000

_KEPT = frozenset({signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT, signal.SIGPIPE})
"""Signals that tell of our own terminal and children, and mean nothing to the program."""

_READY_EVERY_MS = 5
_READY_WITHIN_NS = 1_000_000_000


class Stage:
    """What 0, 1 and 2 are for the wrapper, and how large its terminal is to begin with."""

    def __init__(self, stdio: Sequence[str], size: tuple[int, int]) -> None:
        self.stdio = stdio
        self.size = size


def play(
    stage: Stage,
    run: Callable[[Callable[[int], None]], int],
    moments: Sequence[Moment],
    input_ends_us: int = 0,
) -> int:
    """Run the wrapper on its stage, to its end; its exit status as a shell has it.

    Every signal must be blocked, and no thread be running.

    Args:
        run: what the new process does; its argument takes the session's beginning, on the monotonic
            clock in nanoseconds, as soon as that is known. Returns its exit status.
        moments: what comes when; none after the program's end.
        input_ends_us: when, at the earliest, a terminal is told that our own stdin has ended.

    Raises:
        OSError: there is no terminal, pipe or process to be had.
    """
    master, slave = os.openpty() if "terminal" in stage.stdio else (-1, -1)
    if master >= 0:
        write_winsize(master, _winsize(*stage.size))
    clock_read, clock_write = os.pipe()
    pipes: dict[int, tuple[int, int]] = {}
    for fd in (1, 2):
        if stage.stdio[fd] == "other":
            pipes[fd] = os.pipe()
    pid = os.fork()
    if pid == 0:
        # An end that is held there would hide from its other side that it was closed.
        for fd in (master, clock_read, *(ends[0] for ends in pipes.values())):
            if fd >= 0:
                os.close(fd)
        _become(stage, slave, {fd: ends[1] for fd, ends in pipes.items()}, clock_write, run)
    os.close(clock_write)
    for _, write_end in pipes.values():
        os.close(write_end)
    if slave >= 0:
        os.close(slave)
    sources = {ends[0]: fd for fd, ends in pipes.items()}
    if master >= 0:
        sources[master] = 1 if stage.stdio[1] == "terminal" else 2
    return _Relay(pid, master, sources, clock_read, moments, input_ends_us).run()


def _become(
    stage: Stage,
    slave: int,
    pipes: dict[int, int],
    clock_write: int,
    run: Callable[[Callable[[int], None]], int],
) -> NoReturn:
    """In the new process: take the places of 0, 1 and 2, and run."""
    status = 1
    try:
        os.setsid()
        if slave >= 0:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        complaints = os.dup(2)
        null = os.open(os.devnull, os.O_RDWR)
        for fd, what in enumerate(stage.stdio):
            if what == "closed":
                os.close(fd)
            elif what == "terminal":
                os.dup2(slave, fd)
            elif what == "stdout":
                os.dup2(1, fd)
            elif fd in pipes:
                os.dup2(pipes[fd], fd)
            elif os.isatty(fd):
                os.dup2(null, fd)
        for fd in (slave, null, *pipes.values()):
            if fd > 2:
                os.close(fd)

        def begun(started_ns: int) -> None:
            os.write(clock_write, started_ns.to_bytes(8, "big"))
            os.close(clock_write)

        try:
            status = run(begun)
        except Exception as error:
            os.write(complaints, f"ptyshipper: {error}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(status)


class _Relay:
    """Passes bytes on until the wrapper has ended and all that it showed is out."""

    def __init__(
        self,
        pid: int,
        master: int,
        sources: dict[int, int],
        clock_fd: int,
        moments: Sequence[Moment],
        input_ends_us: int,
    ) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._master = master
        self._sources = sources
        self._clock_fd = clock_fd
        self._started_ns = 0
        self._moments = deque(moments)
        self._input_ends_us = input_ends_us
        self._has_input_ended = False
        self._is_ready = False
        self._status: int | None = None
        self._signals = SignalQueue()
        self._typed = b""
        self._keyboard_fd = 0 if master >= 0 else -1
        self._terminal = Terminal(0) if master >= 0 and os.isatty(0) else None

    def run(self) -> int:
        self._signals.start()
        if self._terminal is not None:
            self._typed = self._terminal.make_raw()
        try:
            while self._status is None or self._sources:
                self._turn()
        finally:
            if self._terminal is not None:
                self._terminal.restore()
        return self._status

    def _turn(self) -> None:
        waiting = select.poll()
        for fd in self._sources:
            waiting.register(fd, select.POLLIN)
        for fd in (self._clock_fd, self._signals.fd, self._keyboard_fd if self._may_type() else -1):
            if fd >= 0:
                waiting.register(fd, select.POLLIN)
        if self._status is None:
            waiting.register(self._pidfd, select.POLLIN)
        if self._typed:
            mask = select.POLLIN if self._master in self._sources else 0
            waiting.register(self._master, mask | select.POLLOUT)
        ready = dict(waiting.poll(self._timeout_ms()))
        self._play_due()
        if self._clock_fd in ready:
            self._read_clock()
        for fd in ready.keys() & self._sources.keys():
            if ready[fd] & ~select.POLLOUT:
                self._pass_on(fd)
        if self._keyboard_fd in ready:
            self._read_keyboard()
        if self._typed and ready.get(self._master, 0) & select.POLLOUT:
            self._typed = self._typed[os.write(self._master, self._typed[:256]) :]
        if self._signals.fd in ready or self._signals.poll_ms is not None:
            for arrived in self._signals.take():
                self._signalled(arrived)
        if self._pidfd in ready:
            self._ended()

    def _may_type(self) -> bool:
        """Whether what is typed would be echoed once: the wrapper has made the terminal raw, or has had
        the time to and does without."""
        if self._is_ready or self._master < 0:
            return True
        if self._started_ns:
            is_raw = not termios.tcgetattr(self._master)[3] & termios.ICANON
            waited_ns = monotonic_ns() - self._started_ns
            self._is_ready = is_raw or waited_ns > _READY_WITHIN_NS
        return self._is_ready

    def _timeout_ms(self) -> float | None:
        if self._started_ns and not self._is_ready and self._keyboard_fd >= 0:
            return _READY_EVERY_MS
        due_us = [self._moments[0].time_us] if self._moments else []
        if self._has_input_ended:
            due_us.append(self._input_ends_us)
        if self._started_ns and due_us and self._status is None:
            return max(0, self._started_ns + min(due_us) * 1000 - monotonic_ns()) / 1e6
        return self._signals.poll_ms

    def _read_clock(self) -> None:
        told = os.read(self._clock_fd, 8)
        os.close(self._clock_fd)
        self._clock_fd = -1
        self._started_ns = int.from_bytes(told, "big")

    def _play_due(self) -> None:
        if not self._started_ns or self._status is not None:
            return
        now_us = (monotonic_ns() - self._started_ns) // 1000
        if self._has_input_ended and now_us >= self._input_ends_us:
            self._input_ends_us = now_us + _END_EVERY_US
            self._typed += _END_OF_FILE
        while self._moments and now_us >= self._moments[0].time_us:
            moment = self._moments.popleft()
            if isinstance(moment.what, Resize):
                if self._master >= 0:
                    write_winsize(self._master, _winsize(moment.what.rows, moment.what.cols))
            else:
                self._send(moment.what.number)

    def _pass_on(self, fd: int) -> None:
        try:
            data = os.read(fd, _READ_BYTES)
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self._drop(fd)
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._sources[fd], view) :]
        except OSError:
            # Nobody reads any more, which the program gets to feel by its own.
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        os.close(fd)
        del self._sources[fd]
        if fd == self._master:
            self._master = self._keyboard_fd = -1
            self._typed = b""
            self._has_input_ended = False

    def _read_keyboard(self) -> None:
        """What is typed, or piped in as if it were typed; its end once."""
        if len(self._typed) >= _KEYBOARD_BYTES:
            return
        source = self._terminal.fd if self._terminal is not None else 0
        try:
            data = os.read(source, _KEYBOARD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._keyboard_fd = -1
            self._has_input_ended = self._terminal is None
        self._typed += data

    def _signalled(self, arrived: Arrived) -> None:
        if arrived.signo not in _KEPT:
            self._send(arrived.signo)

    def _send(self, number: int) -> None:
        if self._status is None:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                pass  # it ended just now, which its pidfd tells

    def _ended(self) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._pidfd)
        self._status = 128 - status if status < 0 else status


def _winsize(rows: int, cols: int) -> bytes:
    return b"".join(side.to_bytes(2, sys.byteorder) for side in (rows, cols, 0, 0))
