"""The way back: what is typed at the terminal outside goes to the program's, and is not recorded.

Both ends are non-blocking and the queue is bounded, because a program that is blocked writing the
echo of a paste reads nothing until we read that echo (asciinema#556, mosh#1356).
"""

from __future__ import annotations

import os

from ptyshipper.child.terminal import Terminal

READ_BYTES = 4096
QUEUE_BYTES = 65_536


class Keyboard:
    """What is typed, on its way. ``hung_up`` once the terminal outside is gone."""

    def __init__(self, terminal: Terminal, master_fd: int) -> None:
        self._terminal = terminal
        self._master_fd = master_fd
        self._queue = bytearray()
        self.hung_up = False

    @property
    def wants_input(self) -> bool:
        """Only in the foreground's raw mode: elsewhere what is typed is somebody else's."""
        return self._terminal.is_raw and not self.hung_up and len(self._queue) < QUEUE_BYTES

    @property
    def has_queued(self) -> bool:
        return bool(self._queue)

    def put(self, typed: bytes) -> None:
        """Take what was typed before the terminal was raw."""
        self._queue += typed

    def read(self) -> None:
        """Take what was typed, and pass on what goes at once."""
        try:
            data = os.read(self._terminal.fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.hung_up = True
            return
        self._queue += data
        self.push()

    def push(self) -> None:
        """Write what the program's terminal takes now. EAGAIN is no error, whatever poll said
        (asciinema#569)."""
        try:
            written = os.write(self._master_fd, self._queue)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            written = len(self._queue)  # EIO: nobody is left to read it
        del self._queue[:written]
