"""How many whole, undamaged records a buffer begins with, and what the program wrote in them."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ptyshipper.records import HEADER_BYTES, OUTPUT_KINDS, PAYLOAD_BYTES, Kind

_HEADER = Struct(">IIQ")
_OUTPUT = frozenset(int(kind) for kind in OUTPUT_KINDS)
# The spool never stores a gap, so one is damage. Sizes are of whole records.
_SIZES = {
    int(kind): (HEADER_BYTES + fewest, HEADER_BYTES + most)
    for kind, (fewest, most) in PAYLOAD_BYTES.items()
    if kind is not Kind.GAP
}


class Scan(NamedTuple):
    """``end`` is where the records stop; ``kind`` and ``time_us`` are those of the last one."""

    end: int
    record_count: int
    output_bytes: int
    kind: int
    time_us: int


def scan(buffer: bytes, max_records: int) -> Scan:
    """Verify record after record, at most ``max_records`` of them, up to the first that is not whole.

    Does for each what ``records.check`` does, in place, which takes a third of the time: this is
    the one loop of the uplink that runs once a record and not once a batch.
    """
    unpack, sizes, output_kinds = _HEADER.unpack_from, _SIZES, _OUTPUT
    at = count = output_bytes = kind = time_us = 0
    end = len(buffer)
    view = memoryview(buffer)
    while count < max_records and at + HEADER_BYTES <= end:
        checksum, word, record_time_us = unpack(buffer, at)
        size = HEADER_BYTES + (word & 0xFFFFFF)
        bounds = sizes.get(word >> 24)
        if bounds is None or not bounds[0] <= size <= bounds[1] or at + size > end:
            break
        if crc32(view[at + 4 : at + size]) != checksum:
            break
        kind, time_us = word >> 24, record_time_us
        if kind in output_kinds:
            output_bytes += size - HEADER_BYTES
        at += size
        count += 1
    return Scan(at, count, output_bytes, kind, time_us)


def output_bytes_in(kind: int, size_bytes: int) -> int:
    """The program's output in a record of this kind and encoded size."""
    return size_bytes - HEADER_BYTES if kind in _OUTPUT else 0


def time_us_at(buffer: bytes, at: int) -> int:
    """The time of the record whose header begins at ``buffer[at]``."""
    time_us: int = _HEADER.unpack_from(buffer, at)[2]
    return time_us
