"""How many whole, undamaged records a buffer begins with, and what the program wrote in them."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ptyshipper.errors import RecordError
from ptyshipper.records import HEADER_BYTES, OUTPUT_KINDS, Kind, check

_TIME = Struct(">8xQ")
_OUTPUT = frozenset(int(kind) for kind in OUTPUT_KINDS)


class Scan(NamedTuple):
    """``end`` is where the records stop; ``kind`` and ``time_us`` are those of the last one."""

    end: int
    output_bytes: int
    kind: int
    time_us: int


def scan(buffer: bytes, max_records: int) -> Scan:
    """Verify record after record, at most ``max_records`` of them, up to the first that is not whole.

    A gap ends it too: the spool never stores one, so it is damage.
    """
    at = output_bytes = last_kind = last_at = 0
    end = len(buffer)
    while at < end and max_records > 0:
        try:
            kind, size = check(buffer, at)
        except RecordError:
            break
        if kind in _OUTPUT:
            output_bytes += size - HEADER_BYTES
        elif kind == Kind.GAP:
            break
        last_kind, last_at = kind, at
        at += size
        max_records -= 1
    return Scan(at, output_bytes, last_kind, time_us(buffer, last_at) if at else 0)


def output_bytes_in(kind: int, size_bytes: int) -> int:
    """The program's output in a record of this kind and encoded size."""
    return size_bytes - HEADER_BYTES if kind in _OUTPUT else 0


def time_us(buffer: bytes, at: int) -> int:
    """The time of the record whose header begins at ``buffer[at]``."""
    value: int = _TIME.unpack_from(buffer, at)[0]
    return value
