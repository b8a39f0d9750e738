"""A process under test whose output is read all the while, on pipes or with a terminal as its stdout.

Unlike ``Terminal`` it forks through ``subprocess``, so a test may have threads (a proxy's, say).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

_started: list[Running] = []
_WARNING = re.compile(rb"ptyshipper: [^\n]*\n")


class Running:
    """A started process; ``out`` and ``err`` grow as it writes. stdin is empty, or the terminal.

    Args:
        terminal: its stdin and stdout are a controlling terminal; stderr is a pipe all the same, so
            that warnings can be told from output.
    """

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], *, terminal: bool = False
    ) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.started_s = time.monotonic()
        err_fd, err_end = os.pipe()
        if terminal:
            out_fd, out_end = os.openpty()
            argv = ["setsid", "--ctty", *argv]  # execs at once: a child of Popen leads no group
        else:
            out_fd, out_end = os.pipe()
        self.process = subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=out_end if terminal else subprocess.DEVNULL,
            stdout=out_end,
            stderr=err_end,
        )
        os.close(out_end)
        os.close(err_end)
        self._readers = [
            threading.Thread(target=_read_all, args=(fd, into), daemon=True)
            for fd, into in ((out_fd, self.out), (err_fd, self.err))
        ]
        for reader in self._readers:
            reader.start()
        _started.append(self)

    @property
    def warnings(self) -> list[str]:
        """The wrapper's own lines on stderr."""
        return [line.decode().rstrip("\n") for line in _WARNING.findall(bytes(self.err))]

    @property
    def printed(self) -> dict[int, bytes]:
        """What came out by descriptor, without the wrapper's own lines."""
        return {1: bytes(self.out), 2: _WARNING.sub(b"", bytes(self.err))}

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout_s: float = 60) -> int:
        """Until it has ended and all its output was read; its status, -n for signal n."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"still running after {timeout_s:g} s; it warned {self.warnings}"
            ) from None
        self.seconds = time.monotonic() - self.started_s
        for reader in self._readers:
            reader.join(20)
            assert not reader.is_alive(), "its output is still held open"
        return status

    def kill(self) -> None:
        """kill -9, and see it out."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()


def kill_all() -> None:
    """What a failed test has left running: for a fixture, after each test."""
    while _started:
        running = _started.pop()
        if running.is_running:
            running.process.kill()
            running.process.wait()


def _read_all(fd: int, into: bytearray) -> None:
    while True:
        try:
            data = os.read(fd, 65_536)
        except OSError:
            break  # EIO: the terminal's other side is closed
        if not data:
            break
        into += data
    os.close(fd)
