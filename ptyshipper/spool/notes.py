"""A few bytes that who delivers a session leaves for who goes on with it, in this process or another."""

from __future__ import annotations

import os

NOTE_FILE = "note"
_MAX_BYTES = 256


class Notes:
    """One note, the last that was written. In the session's folder where there is one.

    Nothing depends on it but what is sent twice without it, so a disk that fails is no matter. It
    survives the death of every process, as records do.
    """

    def __init__(self, folder: str | None) -> None:
        self._path = f"{folder}/{NOTE_FILE}" if folder is not None else None
        self._written: bytes | None = None

    def read(self) -> bytes:
        """The note; empty where there is none."""
        if self._written is not None or self._path is None:
            return self._written or b""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, _MAX_BYTES)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def write(self, note: bytes) -> None:
        """In place of the one before, which was as long."""
        self._written = note
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError:
            return
        try:
            os.pwrite(fd, note, 0)
        except OSError:
            pass
        finally:
            os.close(fd)
