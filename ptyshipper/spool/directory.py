"""A session's folder in the spool's directory: who owns it, and what a successor must know.

::

    DIR/ptyshipper-<uid>/<session id in hex>/session.json          description, and its owner's lock
    DIR/ptyshipper-<uid>/<session id in hex>/<first offset>.seg    see ``segment``
    DIR/ptyshipper-<uid>/<session id in hex>/note                  see ``notes``

DIR may be anybody's and open to all, as a volume of Kubernetes or /tmp is; what is in it must be
ours alone, so that nobody else reads what a program printed, or has us send what he wrote.

``session.json`` says what HELLO does, and beside it for which backend the records are: a successor
that ships to another one must not hand them over. It is locked (flock) by the wrapper for as long as
it lives, then by the successor that delivers what is left. The kernel frees the lock however a
process ends, so a folder whose lock can be had belongs to the dead. A folder gets its name only
after it was locked.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptyshipper.errors import SpoolError
from ptyshipper.spool.notes import NOTE_FILE
from ptyshipper.wire.messages import MAX_DESCRIPTION_BYTES

DESCRIPTION_FILE = "session.json"
SEGMENT_SUFFIX = ".seg"
UNFINISHED_PREFIX = ".new-"

_ENDPOINT_KEY = "endpoint"
_ATTEMPTS = 10
_BLOCK_BYTES = 4096
_MAX_FILE_BYTES = MAX_DESCRIPTION_BYTES + 4096


def own_directory(directory: Path | str) -> str:
    """The part of the spool's directory that is ours; whether it is there or not."""
    return f"{directory}/ptyshipper-{os.geteuid()}"


def check_ours(path: str) -> None:
    """Make sure that nobody but us has put anything into a directory.

    Raises:
        OSError: it is none or not there, another user's, or others may write to it.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    name = os.path.basename(path)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{name} in it belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, f"others may write to {name} in it")


class SessionFolder:
    """A locked folder. It stays locked until ``close``."""

    def __init__(self, path: str, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def create(
        cls, directory: str, session_id: bytes, description: dict[str, Any]
    ) -> SessionFolder:
        """A new session's folder in the spool ``directory``, its owner's alone.

        Raises:
            OSError: the disk would not take it, or others have a hand in it.
        """
        name = session_id.hex()
        directory = _make_own(directory, UNFINISHED_PREFIX + name)
        unfinished = f"{directory}/{UNFINISHED_PREFIX}{name}"
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
            OSError: it is no folder of a session, not ours alone, or can't be read.
        """
        check_ours(path)
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
        """What it takes of the disk, as far as that can be told."""
        total = 0
        try:
            total = _disk_bytes(os.lstat(self.path))
            for entry in os.scandir(self.path):
                total += _disk_bytes(entry.stat(follow_symlinks=False))
        except OSError:
            pass  # it is going away under us
        return total

    def delete(self) -> None:
        """Take away what is ours in it, and the folder if that leaves it empty; then ``close``."""
        try:
            for path in self.segment_paths():
                os.unlink(path)
            for name in (NOTE_FILE, DESCRIPTION_FILE):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}/{name}")
            os.rmdir(self.path)
            os.rmdir(os.path.dirname(self.path))
        except OSError:
            pass  # others' sessions are there; or it is read-only by now: a later start tries again
        self.close()

    def close(self) -> None:
        """Give the lock back; what is in the folder is for a successor."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)


def _disk_bytes(found: os.stat_result) -> int:
    """Blocks, not length: a hundred empty folders take room as well."""
    return max(_BLOCK_BYTES, found.st_blocks * 512)


def _text(description: dict[str, Any]) -> bytes:
    return json.dumps(description, separators=(",", ":")).encode()


def _make_own(directory: str, name: str) -> str:
    """Make a folder of that name in our part of the spool's directory, which is returned.

    Raises:
        OSError: the disk would not take it, or others have a hand in it.
    """
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        os.chmod(directory, 0o700)  # the program's umask may forbid even its owner
    own = own_directory(directory)
    for attempt in range(_ATTEMPTS):
        try:
            os.mkdir(own, 0o700)
            os.chmod(own, 0o700)
        except FileExistsError:
            pass
        try:
            check_ours(own)
            os.mkdir(f"{own}/{name}", 0o700)
            os.chmod(f"{own}/{name}", 0o700)
            break
        except FileNotFoundError:
            # Another wrapper just took it away with the last session in it.
            if attempt == _ATTEMPTS - 1:
                raise
    return own
