"""A session in a file, read as a backend's would be. Every byte of it may be somebody else's."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptyshipper.errors import ProtocolError, RecordCorrupt, RecordingError, RecordTruncated
from ptyshipper.records import (
    OUTPUT_KINDS,
    Exited,
    Kind,
    Record,
    decode,
    read_exited,
    read_gap,
    read_resized,
    read_started,
)
from ptyshipper.wire import recording
from ptyshipper.wire.description import MAX_INTEGER, base64_of, read_description, rfc3339, text_of

Session = dict[str, Any]

_READ_BYTES = 256 * 1024
_FOLLOW_EVERY_S = 0.05
_MAX_TIME_US = 2**62


class RecordingFile:
    """A recording, open for reading.

    Attributes:
        session: its summary, with the keys of the API's that a file can tell of.
        about: what its program was started in (``ptyshipper.surroundings``), unchecked.
        notice: once its records were read, what is wrong with its end; empty where nothing is.

    Raises:
        RecordingError: it is none, or can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notice = ""
        try:
            self._fd = _open(path)
            head = _head(self._fd)
            description = read_description(head.description)
        except OSError as error:
            raise RecordingError(f"can't read {path}: {error.strerror}") from None
        except (RecordingError, ProtocolError) as error:
            raise RecordingError(f"{path} can't be read: {error}") from None
        self.about = head.about
        self._begin = head.size_bytes
        self._id = head.session_id
        self._description = description
        self.session = self._survey()

    @property
    def label(self) -> str:
        """What a command takes for this session."""
        path = str(self._path)
        return path if "/" in path else f"./{path}"

    def is_at(self, path: str) -> bool:
        """Whether what is there, by whatever name, is this file."""
        return os.path.samestat(os.stat(path), os.fstat(self._fd))

    def close(self) -> None:
        """Nothing will be read any more. A command that ends right away need not call it."""
        os.close(self._fd)

    def records(self, offset: int = 0, *, follow: bool = False) -> Iterator[Record | Session]:
        """The records from ``offset`` on, and last the session as it is then; ``follow``: while its
        wrapper lives, what it goes on to write as well.

        Raises:
            RecordingError: it is damaged; what comes before the damage has been given.
        """
        reader = _Reader(self._fd, self._begin, self._path)
        while True:
            is_running = self._is_running()  # asked first: what it wrote before its end is read
            for at_offset, record in reader.records():
                if at_offset >= offset:
                    yield record
                if record.kind == Kind.EXITED:
                    yield self._survey()
                    return
            if not (follow and is_running):
                break
            time.sleep(_FOLLOW_EVERY_S)
        session = self._survey()
        if session["state"] == "cut":
            self.notice = (
                f"{self._path} was cut off: its wrapper did not live to see the program's end"
            )
        yield session

    def _survey(self) -> Session:
        """The summary, from all records that are whole."""
        about = self._description
        cols = rows = 0  # the last ones, as the backend has them
        exited: Exited | None = None
        output_bytes = gaps = lost_bytes = last_us = 0
        is_running = self._is_running()
        try:
            for _, record in _Reader(self._fd, self._begin, self._path).records():
                last_us = max(last_us, min(record.time_us, _MAX_TIME_US))
                if record.kind in OUTPUT_KINDS:
                    output_bytes += len(record.payload)
                elif record.kind == Kind.STARTED:
                    started = read_started(record.payload)
                    cols, rows = started.cols, started.rows
                elif record.kind == Kind.RESIZED:
                    size = read_resized(record.payload)
                    if size.cols and size.rows:
                        cols, rows = size
                elif record.kind == Kind.GAP:
                    gaps += 1
                    lost_bytes = min(lost_bytes + read_gap(record.payload).lost_bytes, MAX_INTEGER)
                elif record.kind == Kind.EXITED:
                    exited = read_exited(record.payload)
                    break
        except RecordingError:
            pass  # whoever reads the records gets to hear of it, where it is
        state = "exited" if exited else "running" if is_running else "cut"
        ended_us = about.started_at_us + last_us
        return {
            "id": self._id.hex(),
            "app_id": None,
            "deployment_id": about.deployment_id,
            "type": about.type,
            "hostname": about.hostname,
            "command": [text_of(word) for word in about.command],
            "command_base64": base64_of(about.command),
            "tty": about.tty,
            "started_at": rfc3339(about.started_at_us),
            "ended_at": None if state == "running" else rfc3339(ended_us),
            "state": state,
            "exit_code": exited.code if exited and not exited.signal else None,
            "exit_signal": exited.signal or None if exited else None,
            "first_offset": 0,
            "bytes": output_bytes,
            "gaps": gaps,
            "lost_bytes": lost_bytes,
            "cols": cols,
            "rows": rows,
        }

    def _is_running(self) -> bool:
        """Whether its wrapper holds its lock (``spool.recording``)."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a filesystem without locks
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False


class _Reader:
    """Whole records, a piece of the file at a time; it may be asked again when the file has grown."""

    def __init__(self, fd: int, begin: int, path: Path) -> None:
        self._fd = fd
        self._at = begin
        self._path = path
        self._offset = 0

    def records(self) -> Iterator[tuple[int, Record]]:
        """Each with its offset, to the last that is whole."""
        while True:
            data = self._read()
            begin = self._at
            try:
                for record in decode(data):
                    offset = self._offset
                    is_gap = record.kind == Kind.GAP
                    self._offset += read_gap(record.payload).span if is_gap else record.size
                    self._at += record.size
                    yield offset, record
            except RecordTruncated:
                if self._at == begin:
                    return
            except RecordCorrupt:
                raise RecordingError(
                    f"{self._path} is damaged at byte {self._at}; what follows can't be read"
                ) from None
            if not data:
                return

    def _read(self) -> bytes:
        try:
            return os.pread(self._fd, _READ_BYTES, self._at)
        except OSError as error:
            raise RecordingError(f"can't read {self._path}: {error.strerror}") from None


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RecordingError("it is no regular file")
    return fd


def _head(fd: int) -> recording.Header:
    size = recording.header_bytes(os.pread(fd, recording.PREFIX_BYTES, 0))
    return recording.read_header(os.pread(fd, size, 0))
