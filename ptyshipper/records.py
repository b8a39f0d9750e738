"""What happened to the program, as records: one binary encoding, on disk and on the wire alike.

A record is a 16-byte header and a payload, all integers big-endian::

    crc32 u32 | kind u8, length u24 | time_us u64 | payload (length bytes)

``crc32`` (zlib's) covers everything behind it. ``time_us`` is monotonic, in microseconds since
the session began: it never goes back when the wall clock does. ``KINDS`` is the table of kinds.

The records of a session form one append-only byte sequence; a position in it is an *offset*.
Every record moves the offset on by its encoded size, but for a gap, which moves it on by its
``span``: the encoded size of the records that it stands for. So offsets stay true however much
was dropped, and a gap is resumed and acknowledged as any other record is.

Normative text: ``wire/PROTOCOL.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ptyshipper.errors import RecordCorrupt, RecordTruncated

HEADER_BYTES = 16
MAX_PAYLOAD_BYTES = 65_520
"""So that the largest record fits the largest batch, 64 KiB."""

_HEADER = Struct(">IIQ")
_BODY = Struct(">IQ")
_CRC = Struct(">I")


class Kind(IntEnum):
    """What a record tells."""

    STARTED = 1
    STDOUT = 2
    STDERR = 3
    TTY = 4
    RESIZED = 5
    SIGNALLED = 6
    EXITED = 7
    GAP = 8


class GapCause(IntEnum):
    """Why records are missing."""

    OVERFLOW = 1  # the spool was full; its oldest records went
    CORRUPT = 2  # the spool's bytes were damaged after they were written
    SPOOL_FAILED = 3  # the spool could neither write to its disk nor hold it in memory
    BACKEND_LOST = 4  # the backend asked for records that it had acknowledged before


OUTPUT_KINDS = frozenset({Kind.STDOUT, Kind.STDERR, Kind.TTY})
STREAM_NAMES = {Kind.STDOUT: "stdout", Kind.STDERR: "stderr", Kind.TTY: "tty"}

_STARTED = Struct(">QHHB")
_RESIZED = Struct(">HH")
_SIGNALLED = Struct(">B")
_EXITED = Struct(">BBB")
_GAP = Struct(">QQB")

PAYLOAD_BYTES: dict[Kind, tuple[int, int]] = {
    Kind.STARTED: (_STARTED.size, _STARTED.size),
    Kind.STDOUT: (1, MAX_PAYLOAD_BYTES),
    Kind.STDERR: (1, MAX_PAYLOAD_BYTES),
    Kind.TTY: (1, MAX_PAYLOAD_BYTES),
    Kind.RESIZED: (_RESIZED.size, _RESIZED.size),
    Kind.SIGNALLED: (_SIGNALLED.size, _SIGNALLED.size),
    Kind.EXITED: (_EXITED.size, _EXITED.size),
    Kind.GAP: (_GAP.size, _GAP.size),
}
"""The fewest and the most payload bytes of each kind; a reader refuses anything else."""

_BOUNDS = {int(kind): bounds for kind, bounds in PAYLOAD_BYTES.items()}


class Started(NamedTuple):
    """The program was started: the wall clock then, its window, which of 0, 1, 2 are terminals."""

    wall_us: int
    cols: int
    rows: int
    tty_mask: int


class Resized(NamedTuple):
    """The window of the program's terminal changed."""

    cols: int
    rows: int


class Exited(NamedTuple):
    """The program ended: by ``code``, or by ``signal`` where that is not 0."""

    code: int
    signal: int
    core_dumped: bool


class Gap(NamedTuple):
    """``span`` bytes of records are missing, with ``lost_bytes`` of the program's output in them."""

    span: int
    lost_bytes: int
    cause: int


class Record(NamedTuple):
    """One record as it stands in the sequence; ``size`` is its encoded length in bytes."""

    kind: int
    time_us: int
    payload: bytes

    @property
    def size(self) -> int:
        return HEADER_BYTES + len(self.payload)


def header(kind: int, time_us: int, payload: bytes) -> bytes:
    """The 16 bytes that go before ``payload``; apart from it, so that a writer need not copy."""
    body = _BODY.pack(kind << 24 | len(payload), time_us)
    return _CRC.pack(crc32(payload, crc32(body))) + body


def encode(kind: int, time_us: int, payload: bytes) -> bytes:
    """One whole record."""
    return header(kind, time_us, payload) + payload


def started(wall_us: int, cols: int, rows: int, tty_mask: int) -> bytes:
    """Payload of a STARTED record."""
    return _STARTED.pack(wall_us, cols, rows, tty_mask)


def resized(cols: int, rows: int) -> bytes:
    """Payload of a RESIZED record."""
    return _RESIZED.pack(cols, rows)


def signalled(signal: int) -> bytes:
    """Payload of a SIGNALLED record: the number of the signal that was forwarded."""
    return _SIGNALLED.pack(signal)


def exited(code: int, signal: int, core_dumped: bool) -> bytes:
    """Payload of an EXITED record."""
    return _EXITED.pack(code, signal, core_dumped)


def gap(span: int, lost_bytes: int, cause: GapCause) -> bytes:
    """Payload of a GAP record."""
    return _GAP.pack(span, lost_bytes, cause)


def read_started(payload: bytes) -> Started:
    return Started._make(_STARTED.unpack(payload))


def read_resized(payload: bytes) -> Resized:
    return Resized._make(_RESIZED.unpack(payload))


def read_signalled(payload: bytes) -> int:
    signal: int = _SIGNALLED.unpack(payload)[0]
    return signal


def read_exited(payload: bytes) -> Exited:
    code, signal, core_dumped = _EXITED.unpack(payload)
    return Exited(code, signal, bool(core_dumped))


def read_gap(payload: bytes) -> Gap:
    return Gap._make(_GAP.unpack(payload))


def measure(buffer: bytes | memoryview, at: int) -> tuple[int, int]:
    """Kind and encoded size of the record that begins at ``buffer[at]``, from its header alone.

    Raises:
        RecordTruncated: fewer than 16 bytes are left.
        RecordCorrupt: no record has such a header.
    """
    if len(buffer) - at < HEADER_BYTES:
        raise RecordTruncated(f"{len(buffer) - at} bytes where a record's header takes 16")
    word = _HEADER.unpack_from(buffer, at)[1]
    kind, length = word >> 24, word & 0xFFFFFF
    bounds = _BOUNDS.get(kind)
    if bounds is None:
        raise RecordCorrupt(f"no record is of kind {kind}")
    if not bounds[0] <= length <= bounds[1]:
        raise RecordCorrupt(f"a record of kind {kind} can't have {length} payload bytes")
    return kind, HEADER_BYTES + length


def check(buffer: bytes | memoryview, at: int) -> tuple[int, int]:
    """Kind and encoded size of the record that begins at ``buffer[at]``, checksum verified.

    Raises:
        RecordTruncated: the buffer ends inside the record.
        RecordCorrupt: the header is impossible or the checksum differs.
    """
    kind, size = measure(buffer, at)
    if len(buffer) - at < size:
        raise RecordTruncated(f"{len(buffer) - at} bytes of a record of {size}")
    view = memoryview(buffer)
    if crc32(view[at + 4 : at + size]) != _CRC.unpack_from(buffer, at)[0]:
        raise RecordCorrupt(f"checksum of a record of kind {kind} and {size} bytes differs")
    return kind, size


def advance(kind: int, size: int, buffer: bytes | memoryview, at: int) -> int:
    """How far the checked record at ``buffer[at]`` moves the offset: its size, or a gap's span."""
    if kind == Kind.GAP:
        span: int = _GAP.unpack_from(buffer, at + HEADER_BYTES)[0]
        return span
    return size


def walk(buffer: bytes | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Kind, ``time_us``, and where the payload begins and ends, of each whole record in ``buffer``.

    For what was checked before: no checksum is looked at (1 us a record saved). It ends before the first
    bytes that are no whole record.
    """
    at, end = 0, len(buffer)
    while at + HEADER_BYTES <= end:
        _, word, time_us = _HEADER.unpack_from(buffer, at)
        kind, length = word >> 24, word & 0xFFFFFF
        payload_at = at + HEADER_BYTES
        at = payload_at + length
        bounds = _BOUNDS.get(kind)
        if bounds is None or at > end or not bounds[0] <= length <= bounds[1]:
            return
        yield kind, time_us, payload_at, at


def decode(buffer: bytes | memoryview) -> Iterator[Record]:
    """The records that ``buffer`` holds, checked one by one.

    Raises:
        RecordTruncated, RecordCorrupt: at the first byte that is no part of a whole record; the
            records before it have been yielded.
    """
    at, end = 0, len(buffer)
    while at < end:
        kind, size = check(buffer, at)
        time_us: int = _HEADER.unpack_from(buffer, at)[2]
        yield Record(kind, time_us, bytes(buffer[at + HEADER_BYTES : at + size]))
        at += size
