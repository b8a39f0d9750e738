"""A stretch of a session's records, in a file or in memory.

A segment is whole records one after another, so an offset is a place in it; no gap is ever stored.
What is missing shows between two segments: each tells the offset at which it begins and how much of
the program's output came before, so the difference says what was lost, to the byte.

A file has a header of 64 bytes before its records, big-endian::

    magic 8s | session id 16s | offset u64 | output_bytes u64 | time_us u64 | 12 x 0 | crc32 u32
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, Protocol
from zlib import crc32

from ptyshipper.errors import SpoolError
from ptyshipper.records import GapCause

FILE_HEADER_BYTES = 64
MAX_FILE_BYTES = 64 * 2**20
"""Far above what is ever written; a larger file in a spool is not ours."""

_MAGIC = b"PTYSPL\x00\x01"
_HEADER = Struct(">8s16sQQQ12x")
_CRC = Struct(">I")
# writev(2) takes at most IOV_MAX buffers, which is 1,024 on Linux.
_IOV_MAX = 1024


class Mark(NamedTuple):
    """A place between two records: its offset, the program's output before it, the time there."""

    offset: int
    output_bytes: int
    time_us: int


ORIGIN = Mark(0, 0, 0)


class Segment(Protocol):
    """What the ledger and the reader know of a segment.

    ``start`` is where it begins, ``end_offset`` where its last whole record ends; ``cause`` says why
    records are missing before it, where some are. ``released_at_s`` is when all of it was
    acknowledged (monotonic), None before.
    """

    start: Mark
    end_offset: int
    cause: GapCause
    released_at_s: float | None
    in_memory: bool

    def append(self, buffers: Sequence[bytes], size_bytes: int) -> None:
        """Add records: all of them, or none.

        Raises:
            OSError: the disk would not take them.
        """

    def seal(self) -> None:
        """Nothing will be appended any more (main thread)."""

    def open_for_reading(self) -> None:
        """Get ready for ``read``; under the ledger's lock, so that ``seal`` does not come between.

        Raises:
            OSError: the file can't be opened.
        """

    def read(self, offset: int, size_bytes: int) -> bytes:
        """At most so many bytes from ``offset`` on (reader's thread).

        Raises:
            OSError: the disk failed.
        """

    def close_reading(self) -> None:
        """``read`` will not be called until the next ``open_for_reading``."""

    def delete(self) -> None:
        """Take it away from the disk; a reader that has it open may go on."""


class MemorySegment:
    """A segment in memory: where there is no directory, or its disk failed."""

    in_memory = True

    def __init__(self, start: Mark, cause: GapCause = GapCause.OVERFLOW) -> None:
        self.start = start
        self.end_offset = start.offset
        self.cause = cause
        self.released_at_s: float | None = None
        self._data = bytearray()

    def append(self, buffers: Sequence[bytes], size_bytes: int) -> None:
        self._data += b"".join(buffers)
        self.end_offset += size_bytes

    def seal(self) -> None:
        pass

    def open_for_reading(self) -> None:
        pass

    def read(self, offset: int, size_bytes: int) -> bytes:
        at = offset - self.start.offset
        # A slice, not a memoryview: while one of those exists the other thread's += would raise.
        return bytes(self._data[at : at + size_bytes])

    def close_reading(self) -> None:
        pass

    def delete(self) -> None:
        pass


class FileSegment:
    """A segment in a file. The writing descriptor is the main thread's, the other the reader's."""

    in_memory = False

    def __init__(self, path: str, start: Mark, end_offset: int, write_fd: int = -1) -> None:
        self.path = path
        self.start = start
        self.end_offset = end_offset
        self.cause = GapCause.OVERFLOW
        self.released_at_s: float | None = None
        self._write_fd = write_fd
        self._read_fd = -1

    @classmethod
    def create(cls, directory: str, session_id: bytes, start: Mark) -> FileSegment:
        """A new file, its header written.

        Raises:
            OSError: the disk would not take it; no file is left behind.
        """
        path = f"{directory}/{file_name(start.offset)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        segment = cls(path, start, start.offset, os.open(path, flags, 0o600))
        try:
            os.fchmod(segment._write_fd, 0o600)  # the program's umask may forbid even its owner
            write_all(segment._write_fd, [_header(session_id, start)], FILE_HEADER_BYTES)
        except OSError:
            segment.seal()
            segment.delete()
            raise
        return segment

    def append(self, buffers: Sequence[bytes], size_bytes: int) -> None:
        try:
            write_all(self._write_fd, buffers, size_bytes)
        except OSError:
            # So that no torn record is left in the middle of the session. Where even this fails,
            # what stands behind the end is not read: the segment that follows begins there.
            try:
                os.ftruncate(self._write_fd, self._place(self.end_offset))
            except OSError:
                pass
            raise
        self.end_offset += size_bytes

    def seal(self) -> None:
        fd, self._write_fd = self._write_fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                pass  # the kernel closes it all the same; what was written is in the page cache

    def open_for_reading(self) -> None:
        if self._read_fd >= 0:
            return
        if self._write_fd >= 0:
            # A copy of the writer's descriptor works though the file be unlinked meanwhile.
            self._read_fd = os.dup(self._write_fd)
        else:
            self._read_fd = os.open(self.path, _READ_FLAGS)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return os.pread(self._read_fd, size_bytes, self._place(offset))

    def close_reading(self) -> None:
        fd, self._read_fd = self._read_fd, -1
        if fd >= 0:
            os.close(fd)

    def delete(self) -> None:
        try:
            os.unlink(self.path)
        except OSError:
            pass  # gone already, or the disk is read-only by now: nothing would help

    def _place(self, offset: int) -> int:
        return FILE_HEADER_BYTES + offset - self.start.offset


_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def file_name(start_offset: int) -> str:
    """Named by its first offset, so that names sort as the records do."""
    return f"{start_offset:020d}.seg"


def load(path: str, session_id: bytes) -> FileSegment:
    """A segment that another process wrote. Nothing behind its header is looked at.

    Raises:
        SpoolError: it is no segment of this session.
        OSError: it can't be read.
    """
    fd = os.open(path, _READ_FLAGS)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise SpoolError(f"{path} is no segment: not a regular file, or far too large")
        header = os.pread(fd, FILE_HEADER_BYTES, 0)
    finally:
        os.close(fd)
    if len(header) < FILE_HEADER_BYTES:
        raise SpoolError(f"{path} ends within its header")
    magic, found_id, offset, output_bytes, time_us = _HEADER.unpack_from(header)
    if magic != _MAGIC or _CRC.unpack(header[-4:])[0] != crc32(header[:-4]):
        raise SpoolError(f"{path} has no header of a segment")
    if found_id != session_id or not path.endswith("/" + file_name(offset)):
        raise SpoolError(f"{path} belongs elsewhere")
    start = Mark(offset, output_bytes, time_us)
    return FileSegment(path, start, offset + found.st_size - FILE_HEADER_BYTES)


def _header(session_id: bytes, start: Mark) -> bytes:
    fields = _HEADER.pack(_MAGIC, session_id, start.offset, start.output_bytes, start.time_us)
    return fields + _CRC.pack(crc32(fields))


def write_all(fd: int, buffers: Sequence[bytes], size_bytes: int) -> None:
    """Write all of it, however often the kernel takes only a part."""
    written = os.writev(fd, buffers) if len(buffers) <= _IOV_MAX else 0
    if written == size_bytes:
        return
    rest = memoryview(b"".join(buffers))[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
