"""How another thread tells one that delivers that the session is at its end."""

from __future__ import annotations

import _thread
import os


class Control:
    """``finish`` from any thread; ``fd`` becomes readable then, and ``deadline_s`` is set."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.deadline_s: float | None = None  # set by another thread, once
        # Held while another thread writes to it, so that the number is not another file's by then.
        self._lock = _thread.allocate_lock()

    def finish(self, deadline_s: float) -> None:
        """The last record is committed: deliver until the monotonic ``deadline_s``, then end."""
        self.deadline_s = deadline_s
        with self._lock:
            if self.fd >= 0:  # else it has ended by itself meanwhile
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        with self._lock:
            fd, self.fd = self.fd, -1
        os.close(fd)
