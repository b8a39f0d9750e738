"""Reads a session's records in order, verified, and says in a gap record what is missing.

The same reader serves the live session, behind its writer, and what a dead one left behind.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ptyshipper.errors import RecordError
from ptyshipper.records import HEADER_BYTES, GapCause, Kind, check, encode, gap, measure
from ptyshipper.spool.ledger import Ledger, Place
from ptyshipper.spool.scan import output_bytes_in, scan, time_us_at
from ptyshipper.spool.segment import ORIGIN, Mark, Segment
from ptyshipper.wire.messages import MAX_BATCH_BYTES, MAX_BATCH_RECORDS

_MARKS_KEPT = 512
_RESYNC_RECORDS = 1024
"""How many damaged records in a row are skipped one by one before the rest of a segment is."""


class ReadBatch(NamedTuple):
    """Whole records, how many, and the offset behind them."""

    records: bytes
    record_count: int
    next_offset: int


class SpoolReader:
    """Used by one thread. ``read`` may begin anywhere a record begins, ``release`` frees.

    Offsets and counts are exact: what ``read`` returned and the ``lost_bytes`` of its gaps are what
    was appended. The one exception is a backend that goes back to where nothing is held and
    nothing is remembered; then ``lost_bytes`` is at most too large.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._mark = ORIGIN
        self._segment: Segment | None = None  # open for reading
        # The ends of the last batches: where a new connection may have to go on.
        self._marks: deque[Mark] = deque(maxlen=_MARKS_KEPT)

    def read(self, offset: int) -> ReadBatch:
        """What one batch takes from ``offset`` on; the largest record fits. Maybe nothing yet."""
        if offset != self._mark.offset:
            self._mark = self._seek(offset)
        head = self._ledger.head
        if offset >= head.offset:
            return ReadBatch(b"", 0, offset)
        # From here on the writer does not drop the segment that holds it.
        self._ledger.sent_offset = offset + 1
        segment = self._segment
        if segment is None or not segment.start.offset < offset < segment.end_offset:
            place = self._ledger.locate(offset)
            if place.segment is None:
                return self._hole(place, head)
            segment = place.segment
        end_offset = min(segment.end_offset, head.offset)
        data = self._fetch(segment, offset, min(MAX_BATCH_BYTES, end_offset - offset))
        found = scan(data, MAX_BATCH_RECORDS)
        if found.end == 0:
            return self._gap(self._beyond_damage(segment, self._mark, head), GapCause.CORRUPT)
        self._advance(
            Mark(offset + found.end, self._mark.output_bytes + found.output_bytes, found.time_us)
        )
        records = data if found.end == len(data) else data[: found.end]
        return ReadBatch(records, found.record_count, self._mark.offset)

    def release(self, offset: int, now_s: float) -> None:
        """Everything before ``offset`` was acknowledged, at the monotonic time ``now_s``."""
        self._ledger.release(offset, now_s)

    def survey(self, segment: Segment) -> tuple[Mark, int]:
        """The end of the last good record in the newest segment of a dead session, and its kind."""
        end, last_kind = segment.start, 0
        mark = end
        while mark.offset < segment.end_offset:
            found = scan(self._fetch(segment, mark.offset, MAX_BATCH_BYTES), MAX_BATCH_RECORDS)
            if found.end == 0:
                mark = self._beyond_damage(segment, mark, self._ledger.head)
                continue
            output_bytes = mark.output_bytes + found.output_bytes
            end = mark = Mark(mark.offset + found.end, output_bytes, found.time_us)
            last_kind = found.kind
        return end, last_kind

    def is_torn(self, segment: Segment, offset: int) -> bool:
        """Whether what stands behind the last good record is a record whose writer was killed in
        mid-write, or the zeros of a power cut, or nothing: no loss, since it never was a record."""
        left_bytes = segment.end_offset - offset
        rest = self._fetch(segment, offset, MAX_BATCH_BYTES)
        if left_bytes < HEADER_BYTES or not any(rest):
            return True
        try:
            return measure(rest, 0)[1] > left_bytes
        except RecordError:
            return False

    def close(self) -> None:
        """Close what is open; ``read`` opens it again."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close_reading()

    def _hole(self, place: Place, head: Mark) -> ReadBatch:
        if place.follower is None:
            return self._gap(head, GapCause.CORRUPT)
        if self._mark.offset < self._ledger.first_offset():
            # The oldest segment is never dropped unacknowledged, so this was acknowledged once.
            return self._gap(place.follower.start, GapCause.BACKEND_LOST)
        return self._gap(place.follower.start, place.follower.cause)

    def _gap(self, target: Mark, cause: GapCause) -> ReadBatch:
        span = target.offset - self._mark.offset
        lost_bytes = max(0, target.output_bytes - self._mark.output_bytes)
        # Time does not go back, also where damage made what came before look late.
        gap_time_us = max(target.time_us, self._mark.time_us)
        self._advance(target._replace(time_us=gap_time_us))
        record = encode(Kind.GAP, gap_time_us, gap(span, lost_bytes, cause))
        return ReadBatch(record, 1, target.offset)

    def _advance(self, mark: Mark) -> None:
        self._mark = mark
        self._marks.append(mark)
        # Also the segment that begins there stays: a backend that has all up to here is counted
        # from its header, by a successor that does not remember this mark.
        self._ledger.sent_offset = mark.offset + 1

    def _seek(self, offset: int) -> Mark:
        """The mark at ``offset``: its output count, by memory or by reading up to it."""
        head = self._ledger.head
        if offset == head.offset:
            return head
        if offset == 0:
            return ORIGIN
        for mark in reversed(self._marks):
            if mark.offset == offset:
                return mark
        place = self._ledger.locate(offset)
        if place.segment is not None:
            return self._walk(place.segment, offset, head)
        if place.before is not None and place.before.end_offset == offset:
            return self._walk(place.before, offset, head)
        target = place.follower.start if place.follower is not None else head
        return _mark_before(target, offset)

    def _walk(self, segment: Segment, offset: int, head: Mark) -> Mark:
        """Count the output from the segment's beginning up to ``offset``, by headers alone."""
        mark = segment.start
        data, base = b"", mark.offset
        while mark.offset < offset:
            at = mark.offset - base
            if len(data) - at < HEADER_BYTES:
                data, base, at = self._fetch(segment, mark.offset, MAX_BATCH_BYTES), mark.offset, 0
            try:
                kind, size = measure(data, at)
            except RecordError:
                mark = self._beyond_damage(segment, mark, head)
            else:
                output_bytes = mark.output_bytes + output_bytes_in(kind, size)
                mark = Mark(mark.offset + size, output_bytes, time_us_at(data, at))
        return mark if mark.offset == offset else _mark_before(mark, offset)

    def _beyond_damage(self, segment: Segment, mark: Mark, head: Mark) -> Mark:
        """The next good record behind the damaged one at ``mark``.

        Where its header tells a size behind which a record checks out, only the payload was
        damaged. Else nothing in the segment can be trusted up to where another begins.
        """
        for _ in range(_RESYNC_RECORDS):
            try:
                kind, size = measure(self._fetch(segment, mark.offset, HEADER_BYTES), 0)
            except RecordError:
                break
            next_offset = mark.offset + size
            if next_offset >= min(segment.end_offset, head.offset):
                break
            output_bytes = mark.output_bytes + output_bytes_in(kind, size)
            following = self._fetch(segment, next_offset, MAX_BATCH_BYTES)
            if len(following) < HEADER_BYTES:
                break
            mark = Mark(next_offset, output_bytes, mark.time_us)
            try:
                check(following, 0)
            except RecordError:
                continue
            return mark._replace(time_us=time_us_at(following, 0))
        follower = self._ledger.locate(segment.start.offset).follower
        return follower.start if follower is not None else head

    def _fetch(self, segment: Segment, offset: int, size_bytes: int) -> bytes:
        """Bytes of ``segment``; none where the disk will not give them, which reads as damage."""
        try:
            if segment is not self._segment:
                self.close()
                self._ledger.open_for_reading(segment)
                self._segment = segment
            return segment.read(offset, min(size_bytes, segment.end_offset - offset))
        except OSError:
            return b""


def _mark_before(target: Mark, offset: int) -> Mark:
    """A mark at ``offset``, of which is only known that ``target`` lies behind it."""
    lost_bytes = min(target.output_bytes, max(0, target.offset - offset - HEADER_BYTES))
    return Mark(offset, target.output_bytes - lost_bytes, 0)
