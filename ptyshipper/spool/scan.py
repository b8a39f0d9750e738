"""How many whole, undamaged records a buffer begins with, and what the program wrote in them.

And where, behind damage, the next one begins: nothing marks that, so every place is tried.
"""

from __future__ import annotations

import re
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
_MOST_BYTES = max(most for _, most in _SIZES.values())
# What stands behind the checksum of any record: its kind, a length below 2^16, and a time of which
# the upper two bytes are 0, as they are for the first 8 years. In text it is nowhere.
_PLAUSIBLE = re.compile(rb"[\x01-\x07]\x00..\x00\x00", re.DOTALL)
_CHECKSUM_BYTES = 4
_MAX_TIME_US = 2**48 - 1
_LEAST_COST = 1024

SEARCH_STEP_BYTES = 65_536
SEARCH_WINDOW_BYTES = SEARCH_STEP_BYTES + _MOST_BYTES


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


class Search:
    """Looks for the first good record, window after window.

    Only one of a time in ``[min_time_us, max_time_us]`` is taken: a program may print what looks like
    a record. What it prints can also cost a checksum at many places, so all of them together are
    allowed ``budget_bytes``; ``is_spent`` says that there is no use in going on.
    """

    def __init__(self, min_time_us: int, max_time_us: int | None, budget_bytes: int) -> None:
        self._min_time_us = min_time_us
        self._max_time_us = _MAX_TIME_US if max_time_us is None else max_time_us
        self._budget_bytes = budget_bytes

    @property
    def is_spent(self) -> bool:
        return self._budget_bytes <= 0

    def find(self, window: bytes) -> int:
        """Where in the first ``SEARCH_STEP_BYTES`` of ``window`` a record begins; -1: nowhere.

        A window of ``SEARCH_WINDOW_BYTES`` holds whole whatever begins there.
        """
        view = memoryview(window)
        at = -1
        while not self.is_spent:
            hit = _PLAUSIBLE.search(window, at + 1 + _CHECKSUM_BYTES)
            at = hit.start() - _CHECKSUM_BYTES if hit is not None else SEARCH_STEP_BYTES
            if at >= SEARCH_STEP_BYTES or at + HEADER_BYTES > len(window):
                return -1
            checksum, word, time_us = _HEADER.unpack_from(window, at)
            size = HEADER_BYTES + (word & 0xFFFFFF)
            fewest, most = _SIZES[word >> 24]
            if (
                fewest <= size <= most
                and at + size <= len(window)
                and self._min_time_us <= time_us <= self._max_time_us
            ):
                self._budget_bytes -= max(size, _LEAST_COST)
                if crc32(view[at + _CHECKSUM_BYTES : at + size]) == checksum:
                    return at
        return -1


def output_bytes_in(kind: int, size_bytes: int) -> int:
    """The program's output in a record of this kind and encoded size."""
    return size_bytes - HEADER_BYTES if kind in _OUTPUT else 0


def time_us_at(buffer: bytes, at: int) -> int:
    """The time of the record whose header begins at ``buffer[at]``."""
    time_us: int = _HEADER.unpack_from(buffer, at)[2]
    return time_us
