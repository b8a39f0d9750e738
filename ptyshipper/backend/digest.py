"""One walk over a batch of records: is each of them whole, and what do they add up to?"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ptyshipper.errors import ProtocolError
from ptyshipper.records import (
    HEADER_BYTES,
    PAYLOAD_BYTES,
    Exited,
    Kind,
    read_exited,
    read_gap,
    read_signalled,
    read_started,
)
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import MAX_BATCH_RECORDS, MAX_OFFSET

MAX_TIME_US = 2**63 - 1
"""Times are kept in signed 64-bit columns."""

MAX_SIGNAL = 64
"""Linux has none beyond."""

_HEADER = Struct(">IIQ")
_BOUNDS = {int(kind): bounds for kind, bounds in PAYLOAD_BYTES.items()}
_STDOUT, _STDERR, _TTY = int(Kind.STDOUT), int(Kind.STDERR), int(Kind.TTY)
_STARTED, _EXITED, _GAP = int(Kind.STARTED), int(Kind.EXITED), int(Kind.GAP)
_SIGNALLED = int(Kind.SIGNALLED)


class Digest(NamedTuple):
    """What a batch of records adds to its session.

    ``end_offset`` is where the next batch begins, ``*_lines`` count newlines by stream, ``window``
    is the (cols, rows) of a STARTED record, ``exited`` the exit and its time in microseconds.
    """

    end_offset: int
    first_time_us: int
    last_time_us: int
    output_bytes: int
    stdout_lines: int
    stderr_lines: int
    tty_lines: int
    gaps: int
    lost_bytes: int
    window: tuple[int, int] | None
    exited: tuple[Exited, int] | None


def _refused(reason: str) -> ProtocolError:
    return ProtocolError(CloseCode.RECORD, reason)


def digest(records: bytes, offset: int) -> Digest:
    """Check every record of the batch that begins at ``offset``, and add them up.

    The walk does what ``records.check`` does, written out: a batch may hold 1,024 records, and
    calls are what it would spend its time on (measured on 100-byte records: 1.0 against 1.9 us).

    Raises:
        ProtocolError: RECORD where a record is torn, damaged or impossible; ENDED where one
            follows an exit record; MALFORMED where there are more than a batch may hold.
    """
    at, end = 0, len(records)
    view = memoryview(records)
    count = output_bytes = stdout_lines = stderr_lines = tty_lines = gaps = lost_bytes = 0
    first_time_us = last_time_us = 0
    window: tuple[int, int] | None = None
    exited: tuple[Exited, int] | None = None
    while at < end:
        if exited is not None:
            raise ProtocolError(CloseCode.ENDED, "a record behind the exit record")
        count += 1
        if end - at < HEADER_BYTES:
            raise _refused("a batch ends inside a record's header")
        crc, word, time_us = _HEADER.unpack_from(records, at)
        kind, length = word >> 24, word & 0xFFFFFF
        bounds = _BOUNDS.get(kind)
        if bounds is None:
            raise _refused(f"no record is of kind {kind}")
        if not bounds[0] <= length <= bounds[1]:
            raise _refused(f"a record of kind {kind} can't have {length} payload bytes")
        payload_at = at + HEADER_BYTES
        following = payload_at + length
        if following > end:
            raise _refused("a batch ends inside a record")
        if crc32(view[at + 4 : following]) != crc:
            raise _refused(f"checksum of a record of kind {kind} differs")
        if time_us > MAX_TIME_US:
            raise _refused("a time beyond 2^63 us")
        if count == 1:
            first_time_us = last_time_us = time_us
        elif time_us > last_time_us:
            last_time_us = time_us
        moved = following - at
        if kind == _STDOUT:
            output_bytes += length
            stdout_lines += records.count(b"\n", payload_at, following)
        elif kind == _TTY:
            output_bytes += length
            tty_lines += records.count(b"\n", payload_at, following)
        elif kind == _STDERR:
            output_bytes += length
            stderr_lines += records.count(b"\n", payload_at, following)
        elif kind == _GAP:
            gap = read_gap(records[payload_at:following])
            if gap.span < 1 or gap.lost_bytes > gap.span:
                raise _refused("a gap that spans nothing, or less than it lost")
            moved = gap.span
            gaps += 1
            lost_bytes += gap.lost_bytes
        elif kind == _STARTED:
            started = read_started(records[payload_at:following])
            window = (started.cols, started.rows)
        elif kind == _EXITED:
            exit_ = read_exited(records[payload_at:following])
            if exit_.signal > MAX_SIGNAL:
                raise _refused(f"an exit by signal {exit_.signal}")
            exited = (exit_, time_us)
        elif kind == _SIGNALLED:
            number = read_signalled(records[payload_at:following])
            if number > MAX_SIGNAL:
                raise _refused(f"a signal {number}")
        offset += moved
        if offset > MAX_OFFSET:
            raise _refused("an offset beyond 2^63")
        at = following
    if count > MAX_BATCH_RECORDS:
        raise ProtocolError(CloseCode.MALFORMED, f"a batch of {count} records, 1,024 at most")
    return Digest(
        offset,
        first_time_us,
        last_time_us,
        output_bytes,
        stdout_lines,
        stderr_lines,
        tty_lines,
        gaps,
        lost_bytes,
        window,
        exited,
    )
