"""The part that is outside of a container: who starts it, gives it its terminal, attaches, and stops it.

The runtime, the kubelet and ``kubectl attach`` in one process. What it starts finds its descriptors as a
runtime makes them: a terminal of 0x0 that controls its session, or no terminal at all, a stdin that is
nothing or a pipe. Nothing of what it moves is recorded here; log-shipper inside does that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from ptyshipper.child.stdio import put_null
from ptyshipper.child.terminal import Terminal, write_winsize
from ptyshipper.repro import syscalls
from ptyshipper.repro.stop import STOP_KEY, Do, Stop, StopKeys

SIZED_AFTER_S = 0.2
"""Attaching takes a while, so the terminal's size comes this long after the program's start."""

DRAIN_S = 2.0
TAKEN_WITHIN_S = 5.0
_CHUNK_BYTES = 4096
_HANDLED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGWINCH,
    signal.SIGCHLD,
)
_ALL = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class Target(Protocol):
    """How a running container is reached."""

    def signal(self, leader: int) -> None:
        """Send the stop signal; ``leader`` is the process that was started."""

    def kill(self, leader: int) -> None:
        """Send SIGKILL to the first process."""

    def run_pre_stop(self) -> int:
        """Start the preStop command in the container; its process id."""


@dataclass(frozen=True)
class Stdio:
    """What the container has on 0, 1 and 2.

    Attributes:
        interactive: what is typed or piped here goes in.
        once: its stdin ends where ours does; else it stays open.
        size: rows and columns that its terminal begins with.
        sized_after_s: after the start it gets the size of ours.
    """

    tty: bool
    interactive: bool
    once: bool
    size: tuple[int, int] = (0, 0)
    sized_after_s: float = SIZED_AFTER_S


class Attachment:
    """A container from its start to its end.

    Args:
        run: becomes the container, in a child, with its descriptors in place; gets a descriptor, to be
            handed to ``tell_started`` just before the program's exec.
        stop_after_s: when to stop it without being asked.
        say: prints one line for a person.
    """

    def __init__(
        self,
        run: Callable[[int], NoReturn],
        stdio: Stdio,
        target: Target,
        stop: Stop,
        *,
        stop_after_s: float | None,
        has_stop_keys: bool,
        say: Callable[[str], None],
    ) -> None:
        self._stdio = stdio
        self._target = target
        self._stop = stop
        self._say = say
        self._keys = StopKeys() if has_stop_keys else None
        self._outer: Terminal | None = None
        self._master = self._input = -1
        self._out = b""
        self._in = b""
        self._input_ended = False
        self._hook_pid = 0
        self._status: int | None = None
        self._drained_at_s = 0.0
        self._size_at_s: float | None = None
        self._stop_at_s: float | None = None
        self._stop_after_s = stop_after_s
        self._leader = self._start(run)

    def _start(self, run: Callable[[int], NoReturn]) -> int:
        slave = read_end = -1
        if self._stdio.tty:
            self._master, slave = os.openpty()
            rows, columns = self._stdio.size
            write_winsize(slave, struct.pack("=HHHH", rows, columns, 0, 0))
            os.set_blocking(self._master, False)
            self._input = self._master
        elif self._stdio.interactive:
            read_end, self._input = os.pipe()
            os.set_blocking(self._input, False)
        self._told, told_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                os.setsid()
                if self._stdio.tty:
                    os.close(self._master)
                    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                    for fd in range(3):
                        os.dup2(slave, fd)
                elif read_end >= 0:
                    os.close(self._input)
                    os.dup2(read_end, 0)
                else:
                    put_null(0)
                _close_inherited()
                run(told_end)
            except BaseException as error:
                os.write(2, f"ptyshipper: repro: {error}\n".encode(errors="backslashreplace"))
            finally:
                os._exit(126)
        for fd in (slave, read_end, told_end):
            if fd >= 0:
                os.close(fd)
        return pid

    def run(self) -> int:
        """Until its end. The status as a shell has it; the terminal here is as it was."""
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        previous = {signo: signal.signal(signo, _noted) for signo in _HANDLED}
        old_fd = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        self._wake = wake_read
        try:
            self._attach()
            while not self._is_over():
                self._turn()
        finally:
            if self._outer is not None:
                self._outer.restore()
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
            signal.set_wakeup_fd(old_fd)
            for signo, handler in previous.items():
                signal.signal(signo, handler)
            if self._hook_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._hook_pid, signal.SIGKILL)
                os.waitpid(self._hook_pid, 0)
        assert self._status is not None
        return self._status

    def _attach(self) -> None:
        """Take over the terminal here, where what is typed goes in."""
        if self._stdio.tty and os.isatty(0):
            self._outer = Terminal(0)
            if self._stdio.interactive:
                self._in += self._outer.make_raw()

    def _is_over(self) -> bool:
        if self._status is None:
            return False
        if self._master < 0 or time.monotonic() >= self._drained_at_s:
            return not self._out
        return False

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._told >= 0:
            poll.register(self._told, select.POLLIN)
        if self._master >= 0 and not self._out:
            poll.register(self._master, select.POLLIN | (select.POLLOUT if self._in else 0))
        elif self._master >= 0 and self._in:
            poll.register(self._master, select.POLLOUT)
        elif self._input >= 0 and self._in:
            poll.register(self._input, select.POLLOUT)
        if self._out:
            poll.register(1, select.POLLOUT)
        reads_input = self._stdio.interactive and not self._input_ended and not self._in
        if reads_input and self._input >= 0:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll(self._timeout_ms()))
        now_s = time.monotonic()
        if self._wake in ready:
            self._take_signals(now_s)
        if self._told in ready:
            self._started(now_s)
        if self._out and 1 in ready:
            self._write_out()
        if self._master in ready and ready[self._master] & ~select.POLLOUT and not self._out:
            self._read_out()
        if self._in and self._input in ready:
            self._write_in()
        if reads_input and 0 in ready:
            self._read_in(now_s)
        self._tick(now_s)

    def _timeout_ms(self) -> float | None:
        times = [self._size_at_s, self._stop_at_s, self._stop.deadline_s]
        if self._status is not None:
            times.append(self._drained_at_s)
        due = [at_s for at_s in times if at_s is not None]
        return max(0.0, (min(due) - time.monotonic()) * 1000 + 1) if due else None

    def _tick(self, now_s: float) -> None:
        if self._size_at_s is not None and now_s >= self._size_at_s:
            self._size_at_s = None
            self._resize()
        if self._stop_at_s is not None and now_s >= self._stop_at_s:
            self._stop_at_s = None
            if not self._stop.is_asked:
                self._do(self._stop.ask(now_s))
        self._do(self._stop.tick(now_s))

    def _started(self, now_s: float) -> None:
        told = os.read(self._told, 1)
        os.close(self._told)
        self._told = -1
        if told:
            self._size_at_s = now_s + self._stdio.sized_after_s
            if self._stop_after_s is not None:
                self._stop_at_s = now_s + self._stop_after_s

    def _resize(self) -> None:
        if self._outer is not None and self._master >= 0 and self._size_at_s is None:
            with contextlib.suppress(OSError):
                write_winsize(self._master, self._outer.winsize())

    def _read_out(self) -> None:
        try:
            data = os.read(self._master, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if data:
            self._out = data
        elif self._status is not None:
            self._drained_at_s = 0.0
        else:
            time.sleep(0.001)  # everyone has closed it, and yet the container lives

    def _write_out(self) -> None:
        try:
            self._out = self._out[os.write(1, self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = b""  # nobody reads: what the container writes is not lost to the backend

    def _read_in(self, now_s: float) -> None:
        try:
            data = os.read(0, _CHUNK_BYTES)
        except OSError:
            data = b""
        if not data:
            self._input_ended = True
            if self._stdio.once and not self._stdio.tty:
                self._close_input()
            return
        self._in += data
        if self._outer is not None and self._outer.is_raw:
            self._count_keys(data.count(STOP_KEY), now_s)

    def _write_in(self) -> None:
        try:
            self._in = self._in[os.write(self._input, self._in) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more
            self._in = b""
            self._input_ended = True
            if not self._stdio.tty:
                self._close_input()
        if self._input_ended and not self._in and self._stdio.once and not self._stdio.tty:
            self._close_input()

    def _close_input(self) -> None:
        if self._input >= 0 and not self._in:
            os.close(self._input)
            self._input = -1

    def _take_signals(self, now_s: float) -> None:
        with contextlib.suppress(BlockingIOError):
            for signo in os.read(self._wake, 256):
                match signo:
                    case signal.SIGCHLD:
                        self._reap(now_s)
                    case signal.SIGWINCH:
                        self._resize()
                    case signal.SIGINT:
                        self._count_keys(1, now_s)
                        if self._keys is not None and not self._stop.is_asked:
                            self._say(
                                "^C once more within a second stops it as an orchestrator does"
                            )
                    case _:
                        if not self._stop.is_asked:
                            self._do(self._stop.ask(now_s))

    def _count_keys(self, times: int, now_s: float) -> None:
        if times and self._keys is not None and self._keys.pressed(times, now_s):
            self._do(self._stop.ask(now_s))

    def _reap(self, now_s: float) -> None:
        if self._hook_pid:
            ended, _ = os.waitpid(self._hook_pid, os.WNOHANG)
            if ended:
                self._hook_pid = 0
                self._do(self._stop.pre_stop_ended(now_s))
        if self._status is None:
            ended, status = os.waitpid(self._leader, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
                self._drained_at_s = now_s + DRAIN_S

    def _do(self, steps: Sequence[Do]) -> None:
        if self._status is not None:
            return
        for step in steps:
            if step is Do.RUN_PRE_STOP:
                self._hook_pid = self._target.run_pre_stop()
            elif step is Do.SIGNAL:
                self._target.signal(self._leader)
            else:
                self._target.kill(self._leader)


def _noted(signo: int, frame: object) -> None:
    """The wakeup descriptor has the number."""


def tell_started(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, b"s")


def _close_inherited() -> None:
    """What a shell left open above 2 is no container's; our own are closed by an exec as it is."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))


def run_until_taken(argv: Sequence[str]) -> None:
    """Start a helper's command, and again until it ends well: a container that is asked to stop while it is
    still being made is not known yet, and would never hear of it."""

    ours = os.getpid()

    def run() -> None:
        ends_s = time.monotonic() + TAKEN_WITHIN_S
        while time.monotonic() < ends_s and os.getppid() == ours:
            status = os.waitpid(run_command(argv), 0)[1]
            if status == 0:
                os._exit(0)
            time.sleep(0.1)

    if os.fork() == 0:
        become_quiet(run)


def run_command(argv: Sequence[str]) -> int:
    """Start a helper's command with nothing on its descriptors; its process id."""
    pid = os.fork()
    if pid == 0:
        become_quiet(lambda: os.execvp(argv[0], list(argv)))
    return pid


def become_quiet(run: Callable[[], None]) -> NoReturn:
    """In a child: descriptors on nothing, signals as a new process has them."""
    try:
        for signo in _HANDLED:
            signal.signal(signo, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for fd in range(3):
            os.close(fd)
            put_null(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        run()
    finally:
        os._exit(126)
