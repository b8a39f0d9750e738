"""One stream of the program on its way out: read, recorded, written.

Little is held: once ``QUEUE_BYTES`` wait to go out, nothing more is read, so a stalled reader outside
stalls the program as it would without us.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from collections import deque

from ptyshipper.child.terminal import Terminal
from ptyshipper.pump.outlet import Outlet
from ptyshipper.pump.sink import RecordSink
from ptyshipper.records import MAX_PAYLOAD_BYTES, Kind

READ_BYTES = MAX_PAYLOAD_BYTES
PTY_PAGE_BYTES = 4095
"""What a read of a pty's master gives where more is waiting (drivers/tty/n_tty.c, N_TTY_BUF_SIZE)."""
PTY_TURN_BYTES = 2 * PTY_PAGE_BYTES
"""What a terminal outside takes at once without a stall; with three pages in hand the third one
waited each time (measured: 0.8 of the throughput)."""
QUEUE_BYTES = 16_384
"""Below this much waiting to go out, more is read: the program and the reader outside overlap."""
_CAPACITY_BYTES = 1_048_576
"""More than a pipe or a pty holds, unless the program enlarged its pipe beyond the usual limit."""


class Flow:
    """One stream.

    Attributes:
        read_fd: where the program's bytes come from; -1 once they have ended.
        queued_bytes: what was read and recorded, and is not out yet.
        owed_bytes: once the program has ended, the most that it may have left in its pipe or pty.
    """

    def __init__(self, read_fd: int, kind: Kind, outlet: Outlet) -> None:
        self.read_fd = read_fd
        self.kind = int(kind)
        self.outlet: Outlet | None = outlet
        self.queued_bytes = 0
        self.owed_bytes = 0
        self._queue: deque[memoryview] = deque()

    @property
    def ended(self) -> bool:
        """Nothing more comes, and all that came is out."""
        return self.read_fd < 0 and not self.queued_bytes

    @property
    def wants_input(self) -> bool:
        return self.read_fd >= 0 and self.queued_bytes < QUEUE_BYTES

    def read(self, sink: RecordSink, time_us: int) -> int:
        """Take what the program wrote, at most one record of it; how many bytes."""
        data = self._take()
        if not data:
            return 0
        sink.append(self.kind, time_us, data)
        self.owed_bytes -= len(data)
        if self.outlet is not None:
            self._enqueue(data)
        return len(data)

    def _enqueue(self, data: bytes) -> None:
        # slices of bytes are copies; a reader that stalls for long must not cost a copy a write
        self._queue.append(memoryview(data))
        self.queued_bytes += len(data)

    def _take(self) -> bytes:
        """Read what is there. A pty gives at most a page at a time, whatever is asked for, so a full
        one is a reason to ask again: one record and one write for all of it.

        EIO is how a pty says end (tty_ioctl(4)), no error: conmon#440, node-pty#178.
        """
        try:
            data = os.read(self.read_fd, READ_BYTES)
            if len(data) != PTY_PAGE_BYTES:
                if not data:
                    self.stop_reading()
                return data
            pages, taken = [data], PTY_PAGE_BYTES
            while len(data) == PTY_PAGE_BYTES and taken <= PTY_TURN_BYTES - PTY_PAGE_BYTES:
                try:
                    data = os.read(self.read_fd, PTY_PAGE_BYTES)
                except OSError:
                    break  # nothing more now; an end shows again at the next read
                pages.append(data)
                taken += len(data)
            return b"".join(pages)
        except BlockingIOError:
            return b""
        except OSError:
            self.stop_reading()
            return b""

    def push(self) -> bool:
        """Write what the outlet takes now; False where it will never take a byte again."""
        assert self.outlet is not None
        queue = self._queue
        try:
            while queue:
                first = queue[0]
                written = self.outlet.write(first)
                self.queued_bytes -= written
                if written < len(first):
                    queue[0] = first[written:]
                    break
                queue.popleft()
        except OSError:
            return False
        return True

    def break_off(self, sink: RecordSink, time_us: int) -> None:
        """The reader outside is gone: record what the program has written by now, then let its own
        writes fail as they would have without us."""
        self._queue.clear()
        self.queued_bytes = 0
        self.outlet = None
        self.finish_reading(sink, time_us)

    def finish_reading(self, sink: RecordSink, time_us: int) -> None:
        """Take what waits now, and nothing that comes later."""
        if self.read_fd < 0:
            return
        left = int.from_bytes(fcntl.ioctl(self.read_fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        while left > 0 and self.read_fd >= 0:
            taken = self.read(sink, time_us)
            if not taken:
                break
            left -= taken
        self.stop_reading()

    def program_ended(self) -> None:
        """What is in its pipe or pty now is its own, or was written before it ended."""
        if self.read_fd >= 0:
            self.owed_bytes = _CAPACITY_BYTES

    def stop_reading(self) -> None:
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1
            self.owed_bytes = 0


class TerminalFlow(Flow):
    """The flow from the program's terminal to the one outside.

    Outside the foreground that one is not raw: it turns each line feed into CR LF once more. What
    the program's own terminal added is taken out first, so that a person sees what would have been
    seen. The records keep what the program's terminal showed.
    """

    def __init__(self, read_fd: int, outlet: Outlet, terminal: Terminal) -> None:
        super().__init__(read_fd, Kind.TTY, outlet)
        self._terminal = terminal
        self._held_cr = b""

    def _enqueue(self, data: bytes) -> None:
        if not self._terminal.is_raw or self._held_cr:
            data = self._uncooked(data)
        if data:
            super()._enqueue(data)

    def _uncooked(self, data: bytes) -> bytes:
        data, self._held_cr = self._held_cr + data, b""
        if self._terminal.is_raw or not self._adds_cr(self._terminal.fd):
            return data
        if self.read_fd >= 0 and not self._adds_cr(self.read_fd):
            return data
        if data.endswith(b"\r") and self.read_fd >= 0:
            data, self._held_cr = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n")

    @staticmethod
    def _adds_cr(fd: int) -> bool:
        try:
            oflag = termios.tcgetattr(fd)[1]
        except termios.error:
            return False
        return bool(oflag & termios.OPOST and oflag & termios.ONLCR)
