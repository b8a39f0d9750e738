"""One stream of the program on its way out: read, recorded, written. At most one read is in flight.

While something is pending, nothing more is read, so a stalled reader outside stalls the program as
it would without us.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios

from ptyshipper.child.terminal import Terminal
from ptyshipper.pump.outlet import Outlet
from ptyshipper.pump.sink import RecordSink
from ptyshipper.records import MAX_PAYLOAD_BYTES, Kind

READ_BYTES = MAX_PAYLOAD_BYTES


class Flow:
    """One stream.

    Attributes:
        read_fd: where the program's bytes come from; -1 once they have ended.
        pending: what was read and recorded, and is not out yet.
    """

    def __init__(self, read_fd: int, kind: Kind, outlet: Outlet) -> None:
        self.read_fd = read_fd
        self.kind = int(kind)
        self.outlet: Outlet | None = outlet
        self.pending: bytes | memoryview = b""

    @property
    def ended(self) -> bool:
        """Nothing more comes, and all that came is out."""
        return self.read_fd < 0 and not self.pending

    def read(self, sink: RecordSink, time_us: int) -> int:
        """Take what the program wrote, at most one record of it; how many bytes.

        EIO is how a pty says end (tty_ioctl(4)), no error: conmon#440, node-pty#178.
        """
        try:
            data = os.read(self.read_fd, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.stop_reading()
            return 0
        sink.append(self.kind, time_us, data)
        if self.outlet is not None:
            self.pending = data
        return len(data)

    def push(self) -> bool:
        """Write what is pending; whether the outlet still takes bytes."""
        assert self.outlet is not None
        try:
            written = self.outlet.write(self.pending)
        except OSError:
            return False
        # bytes are sliced by copying; a reader that stalls for long must not cost a copy a write
        self.pending = memoryview(self.pending)[written:] if written < len(self.pending) else b""
        return True

    def break_off(self, sink: RecordSink, time_us: int) -> None:
        """The reader outside is gone: record what the program has written by now, then let its own
        writes fail as they would have without us."""
        self.pending = b""
        self.outlet = None
        if self.read_fd < 0:
            return
        left = int.from_bytes(fcntl.ioctl(self.read_fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        while left > 0 and self.read_fd >= 0:
            taken = self.read(sink, time_us)
            if not taken:
                break
            left -= taken
        self.stop_reading()

    def stop_reading(self) -> None:
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1


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

    def read(self, sink: RecordSink, time_us: int) -> int:
        taken = super().read(sink, time_us)
        if (not self._terminal.is_raw or self._held_cr) and self.outlet is not None:
            self.pending = self._uncooked(bytes(self.pending))
        return taken

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
