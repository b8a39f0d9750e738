"""Takes the records of the running program into a file of the user's, for whoever has no backend.

A spool is bounded and goes when it was delivered; a recording is the user's, and grows as a log does. Its
records are written through the page cache, as the spool's are, so a file that its wrapper did not
finish reads to its last whole record. While the wrapper lives it holds a lock (flock) on the file,
by which readers tell a session that runs from one that was cut off.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from typing import Any

from ptyshipper.errors import UsageError
from ptyshipper.records import HEADER_BYTES, header
from ptyshipper.spool.segment import write_all
from ptyshipper.wire import recording

_MODE = 0o600
"""What a program printed may be anybody's secret."""


class Recording:
    """A record sink. It never fails: a disk that takes no more is one warning.

    Attributes:
        path: as it was given.
        is_whole: False once something could not be written.
    """

    has_room = True
    room_fd = -1

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.is_whole = True
        self._fd = fd
        self._size_bytes = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._warn: Callable[[str], None] = _no_warning

    @classmethod
    def create(cls, path: str, *, overwrite: bool) -> Recording:
        """An empty file, locked. ``overwrite``: whatever it holds is lost.

        Raises:
            UsageError: it can't be had, or is there already.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(path, flags | (0 if overwrite else os.O_EXCL), _MODE)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise UsageError(f"{path} is there already; --force overwrites it") from None
            raise UsageError(f"can't record to {path}: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"can't record to {path}: it is no regular file")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, _MODE)
            os.ftruncate(fd, 0)
        except BlockingIOError:
            os.close(fd)
            raise UsageError(f"can't record to {path}: another session is written there") from None
        except OSError as error:
            os.close(fd)
            raise UsageError(f"can't record to {path}: {error.strerror}") from None
        except UsageError:
            os.close(fd)
            raise
        return cls(path, fd)

    def begin(
        self,
        session_id: bytes,
        description: dict[str, Any],
        about: dict[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """Write what comes before the first record; ``warn`` is called from now on, once at most."""
        self._warn = warn
        head = recording.header(session_id, description, about)
        self._pending, self._pending_bytes = [head], len(head)
        self.flush()

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        self._pending.append(header(kind, time_us, payload))
        self._pending.append(payload)
        self._pending_bytes += HEADER_BYTES + len(payload)

    def flush(self) -> None:
        size = self._pending_bytes
        if not size:
            return
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not self.is_whole:
            return
        try:
            write_all(self._fd, pending, size)
        except OSError as error:
            self._give_up(error)
        else:
            self._size_bytes += size

    def close(self) -> None:
        """Flush and let go."""
        self.flush()
        os.close(self._fd)

    def _give_up(self, error: OSError) -> None:
        """Nothing follows: a recording with a hole in it would pass for one that is whole."""
        self.is_whole = False
        try:
            os.ftruncate(self._fd, self._size_bytes)
        except OSError:
            pass  # its last record is torn, which readers know what to do with
        self._warn(
            f"the recording {self.path} ends here: {error.strerror}; the program is not affected"
        )


def _no_warning(message: str) -> None:
    pass
