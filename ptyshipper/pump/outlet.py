"""Where bytes go outside: our own stdout, stderr, or the terminal. Never blocks, never changes it.

O_NONBLOCK must not be set on an inherited descriptor, since it belongs to the open file description
that other processes share. What does instead depends on what the descriptor is:

===================  ==========================================================================
regular file, null   write(2): it never waits for a reader (a description of our own would have an
                     offset of its own, and overwrite what others write)
pipe, FIFO           a non-blocking description of our own, through /proc/self/fd
terminal             the same; ``child.terminal`` has it already
socket               send(2) with MSG_DONTWAIT, which is per call
none of our own      at most PIPE_BUF bytes after POLLOUT: for a pipe it then never blocks (poll(2))
===================  ==========================================================================
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

from ptyshipper.child.stdio import put_null
from ptyshipper.child.terminal import Terminal, reopen

_PIPE_BUF = select.PIPE_BUF


class Outlet:
    """One place that bytes go to.

    Attributes:
        fd: the inherited descriptor.
        poll_fd: what to wait on for POLLOUT, and for the end of the reader (POLLERR, POLLHUP).
    """

    def __init__(self, fd: int, terminal: Terminal | None = None) -> None:
        self.fd = fd
        self.poll_fd = fd
        self._write: Callable[[bytes | memoryview], int] = self._write_small
        if terminal is not None:
            self.poll_fd = terminal.fd
            if terminal.never_blocks:
                self._write = self._write_own
            return
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd)):
            self._write = self._write_plain
        elif stat.S_ISSOCK(mode):
            self._write = _socket_writer(fd)
        else:
            own = reopen(fd, os.O_WRONLY)
            if own >= 0:
                self.poll_fd = own
                self._write = self._write_own

    def write(self, data: bytes | memoryview) -> int:
        """Write what can be written now; how many bytes that was.

        Raises:
            OSError: nobody reads any more, or the disk is full: nothing can go out here again.
        """
        try:
            return self._write(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _write_plain(self, data: bytes | memoryview) -> int:
        return os.write(self.fd, data)

    def _write_own(self, data: bytes | memoryview) -> int:
        return os.write(self.poll_fd, data)

    def _write_small(self, data: bytes | memoryview) -> int:
        waiting = select.poll()
        waiting.register(self.fd, select.POLLOUT)
        if not waiting.poll(0):
            return 0
        return os.write(self.fd, data[:_PIPE_BUF])

    def close(self) -> None:
        """Close it for the reader outside, as the program closed its own end."""
        if self.poll_fd not in (-1, self.fd):
            os.close(self.poll_fd)
        self.poll_fd = -1
        put_null(self.fd)  # something must stay on 0 to 2, or the next file opened would land there


def _socket_writer(fd: int) -> Callable[[bytes | memoryview], int]:
    import socket  # 3 ms, for the few whose stdout is one

    def write(data: bytes | memoryview) -> int:
        # Borrowed for a call: the descriptor stays the process's own, to be closed as any other.
        end = socket.socket(fileno=fd)
        try:
            return end.send(data, socket.MSG_DONTWAIT)
        finally:
            end.detach()

    return write
