"""A session's folder in the spool's directory: who owns it, and what a successor must know.

::

    DIR/<session id in hex>/session.json               description, and the lock of its owner
    DIR/<session id in hex>/<first offset>.seg         see ``segment``

``session.json`` says what HELLO does, and beside it for which backend the records are: a successor
that ships to another one must not hand them over. It is locked (flock) by the wrapper for as long as
it lives, then by the successor that delivers what is left. The kernel frees the lock however a
process ends, so a folder whose lock can be had belongs to the dead. A folder gets its name only
after it was locked.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from typing import Any

from ptyshipper.errors import SpoolError
from ptyshipper.wire.messages import MAX_DESCRIPTION_BYTES

DESCRIPTION_FILE = "session.json"
SEGMENT_SUFFIX = ".seg"
UNFINISHED_PREFIX = ".new-"

_ENDPOINT_KEY = "endpoint"
_MAX_FILE_BYTES = MAX_DESCRIPTION_BYTES + 4096


class SessionFolder:
    """A locked folder. It stays locked until ``close``."""

    def __init__(self, path: str, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def create(
        cls, directory: str, session_id: bytes, description: dict[str, Any]
    ) -> SessionFolder:
        """A new session's folder, its owner's alone.

        Raises:
            OSError: the disk would not take it.
        """
        if not os.path.isdir(directory):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            os.chmod(directory, 0o700)  # the program's umask may forbid even its owner
        name = session_id.hex()
        unfinished = f"{directory}/{UNFINISHED_PREFIX}{name}"
        os.mkdir(unfinished, 0o700)
        os.chmod(unfinished, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(f"{unfinished}/{DESCRIPTION_FILE}", flags, 0o600)
        folder = cls(unfinished, fd)
        try:
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, _text(description))
            os.rename(unfinished, f"{directory}/{name}")
        except OSError:
            folder.delete()
            raise
        folder.path = f"{directory}/{name}"
        return folder

    @classmethod
    def claim(cls, path: str) -> SessionFolder | None:
        """Lock a dead session's folder; None where its owner lives, or another successor has it.

        Raises:
            OSError: it is no folder of a session, or can't be read.
        """
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(f"{path} is not a directory")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(f"{path}/{DESCRIPTION_FILE}", flags)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        found = os.fstat(fd)
        if found.st_nlink == 0 or not stat.S_ISREG(found.st_mode):
            os.close(fd)  # the successor that had the lock before us delivered and deleted it
            return None
        return cls(path, fd)

    def address(self, endpoint: str) -> None:
        """Note for which backend the session is, before its first record.

        Raises:
            OSError: the disk would not take it.
            SpoolError: the description can't be read.
        """
        text = _text({**self._read(), _ENDPOINT_KEY: endpoint})
        os.pwrite(self._lock_fd, text, 0)  # in one call: longer than what was there

    def endpoint(self) -> str | None:
        """For which backend the session is; None where its wrapper did not live to note it.

        Raises:
            SpoolError: it can't be read.
        """
        endpoint = self._read().get(_ENDPOINT_KEY)
        return endpoint if isinstance(endpoint, str) else None

    def description(self) -> dict[str, Any]:
        """What the session's HELLO says.

        Raises:
            SpoolError: it can't be read as such.
        """
        value = self._read()
        value.pop(_ENDPOINT_KEY, None)
        if len(_text(value)) > MAX_DESCRIPTION_BYTES:
            raise SpoolError(f"{self.path}/{DESCRIPTION_FILE} describes no session")
        return value

    def _read(self) -> dict[str, Any]:
        try:
            text = os.pread(self._lock_fd, _MAX_FILE_BYTES + 1, 0)
            value = json.loads(text)
        except (OSError, ValueError, RecursionError):
            raise SpoolError(f"{self.path}/{DESCRIPTION_FILE} can't be read") from None
        if not isinstance(value, dict) or len(text) > _MAX_FILE_BYTES:
            raise SpoolError(f"{self.path}/{DESCRIPTION_FILE} describes no session")
        return value

    def segment_paths(self) -> list[str]:
        """Its segments, oldest first.

        Raises:
            OSError: the folder can't be read.
        """
        names = sorted(name for name in os.listdir(self.path) if name.endswith(SEGMENT_SUFFIX))
        return [f"{self.path}/{name}" for name in names]

    def size_bytes(self) -> int:
        """What its files take, as far as that can be told."""
        total = 0
        try:
            for entry in os.scandir(self.path):
                total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            pass  # it is going away under us
        return total

    def modified_s(self) -> float:
        """When a file was last added to it or taken away (Unix time)."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return 0.0

    def delete(self) -> None:
        """Take away what is ours in it, and the folder if that leaves it empty; then ``close``."""
        try:
            for path in self.segment_paths():
                os.unlink(path)
            os.unlink(f"{self.path}/{DESCRIPTION_FILE}")
            os.rmdir(self.path)
        except OSError:
            pass  # read-only by now, or another's files are in it: a later start tries again
        self.close()

    def close(self) -> None:
        """Give the lock back; what is in the folder is for a successor."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)


def _text(description: dict[str, Any]) -> bytes:
    return json.dumps(description, separators=(",", ":")).encode()
