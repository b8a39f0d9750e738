"""Run a program with exactly this argv and this environment, which ``subprocess`` can't express.

Entries may repeat, lack a name or a ``=``; descriptors may be closed, limits low, signals ignored.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.support.patience import until

_LIBC = ctypes.CDLL(None)


_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
"""The number of the system call; the C library hides two signals that it uses itself."""


def ignored_signals() -> int:
    """Those that this process was started with as ignored, as a mask: nohup(1) and some of its kind
    leave more than one. Without the two that Python ignores by itself."""
    (mask,) = (
        line.split()[1]
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("SigIgn:")
    )
    return int(mask, 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def _reset_signals() -> None:
    """Every signal's default: what the tests were started with, and what Python ignores, is gone."""
    number = _RT_SIGACTION[os.uname().machine]
    default = ctypes.create_string_buffer(64)
    for signo in range(1, 65):
        _LIBC.syscall(number, signo, default, None, 8)


class Ended(NamedTuple):
    """How it ended, -n for signal n, and what it wrote."""

    status: int
    out: bytes
    err: str


class Executing:
    """A process that was started; at the end of ``with`` it is killed if it still runs.

    Args:
        path: the program's file.
        argv: all of it, the name included.
        environ: its entries.
        setup: called in the new process, just before the exec.
        closed: which of 0, 1 and 2 it does not have. The others are an empty stdin and files.
    """

    def __init__(
        self,
        path: Path | str,
        argv: Sequence[str | bytes],
        environ: Sequence[bytes] = (),
        *,
        setup: Callable[[], object] = lambda: None,
        closed: Sequence[int] = (),
    ) -> None:
        words, entries = _strings(argv), _strings(environ)
        self._out, self._err = os.memfd_create("stdout"), os.memfd_create("stderr")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                null = os.open(os.devnull, os.O_RDONLY)
                for fd, source in enumerate((null, self._out, self._err)):
                    os.dup2(source, fd)
                for fd in map(int, os.listdir("/proc/self/fd")):
                    if fd > 2:
                        _close_on_exec(fd)
                _reset_signals()
                setup()
                for fd in closed:
                    os.close(fd)
                _LIBC.execve(os.fsencode(path), words, entries)
            finally:
                os._exit(99)
        self._status: int | None = None

    def __enter__(self) -> Executing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is None:
            self.kill()

    @property
    def is_running(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is None

    def wait(self) -> Ended:
        """Until it has ended.

        Raises:
            AssertionError: it did not in time, and was killed.
        """
        try:
            until(lambda: not self.is_running, f"process {self.pid} ends")
        except AssertionError:
            self.kill()
            raise
        return self._ended()

    def kill(self) -> Ended:
        """kill -9, and see it out."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._ended()

    def _ended(self) -> Ended:
        assert self._status is not None
        out, err = (_take(fd) for fd in (self._out, self._err))
        return Ended(self._status, out, err.decode())


def execute(
    path: Path | str,
    argv: Sequence[str | bytes],
    environ: Sequence[bytes] = (),
    *,
    setup: Callable[[], object] = lambda: None,
    closed: Sequence[int] = (),
) -> Ended:
    """Run it to its end; the arguments are those of ``Executing``."""
    with Executing(path, argv, environ, setup=setup, closed=closed) as process:
        return process.wait()


def become(uid: int) -> None:
    """Be another user, without any group or capability. For a ``setup``, as root."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _take(fd: int) -> bytes:
    """What was written to a file; closes it."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb") as file:
        return file.read()


def _close_on_exec(fd: int) -> None:
    """What the tests' own parent left open is not for the program."""
    try:
        os.set_inheritable(fd, False)
    except OSError:
        pass  # the listing's own


def _strings(words: Sequence[str | bytes]) -> ctypes.Array[ctypes.c_char_p]:
    array = (ctypes.c_char_p * (len(words) + 1))()
    array[:-1] = [os.fsencode(word) for word in words]
    return array
