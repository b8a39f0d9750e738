"""Reads a session's records in order, verified, and says in a gap record what is missing.

The same reader serves the live session, behind its writer, and what a dead one left behind.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ptyshipper.errors import RecordError
from ptyshipper.records import HEADER_BYTES, GapCause, Kind, encode, gap, measure
from ptyshipper.spool.ledger import Ledger, Place
from ptyshipper.spool.scan import (
    SEARCH_STEP_BYTES,
    SEARCH_WINDOW_BYTES,
    Search,
    output_bytes_in,
    scan,
    time_us_at,
)
from ptyshipper.spool.segment import ORIGIN, Mark, Segment
from ptyshipper.wire.messages import MAX_BATCH_BYTES, MAX_BATCH_RECORDS

_MARKS_KEPT = 512
_RESYNC_RECORDS = 1024
"""How many damaged records in a row are skipped by what their headers say."""

_SEARCH_BUDGET_BYTES = 64 * 2**20
"""What a search for a good record may sum up: a few hundredths of a second, for hostile output."""

_COUNTED_PLACES = 16
"""Behind more damaged places than that what is good is not counted, lest each do so for all others."""


class ReadBatch(NamedTuple):
    """Whole records, how many, and the offset behind them."""

    records: bytes
    record_count: int
    next_offset: int


class SpoolReader:
    """Used by one thread. ``read`` may begin anywhere a record begins, ``release`` frees.

    Offsets are exact, and counts but for two cases, in which ``lost_bytes`` is at most too large: a
    backend that goes back to where nothing is held and nothing is remembered, and damage in what a
    dead session wrote last, behind which no count is stored. Else what ``read`` returned and the
    ``lost_bytes`` of its gaps are what was appended.
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

    def survey(self, segment: Segment, start: Mark) -> tuple[Mark, int]:
        """The end of the last good record in the newest segment of a dead session, and its kind.

        Damage before it is counted for as much output as it may have held: nobody knows better.
        """
        end, last_kind = start, 0
        mark: Mark | None = end
        while mark is not None and mark.offset < segment.end_offset:
            found = scan(self._fetch(segment, mark.offset, MAX_BATCH_BYTES), MAX_BATCH_RECORDS)
            if found.end == 0:
                mark = self._next_good(segment, mark, segment.end_offset, None)
                continue
            output_bytes = mark.output_bytes + found.output_bytes
            end = mark = Mark(mark.offset + found.end, output_bytes, found.time_us)
            last_kind = found.kind
        return end, last_kind

    def is_torn(self, segment: Segment, offset: int) -> bool:
        """Whether what stands behind the last good record is a record whose writer was killed in
        mid-write, or the zeros of a power cut, or nothing: no loss, since it never was a record.
        More than the largest record takes was several."""
        left_bytes = segment.end_offset - offset
        if left_bytes > MAX_BATCH_BYTES:
            return False
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
        # A backend refuses more than the span, which estimates and a forged header may come to.
        lost_bytes = min(span, max(0, target.output_bytes - self._mark.output_bytes))
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
        """Count the output from the segment's beginning up to ``offset``."""
        mark = segment.start
        while mark.offset < offset:
            size_bytes = min(MAX_BATCH_BYTES, offset - mark.offset)
            found = scan(self._fetch(segment, mark.offset, size_bytes), MAX_BATCH_RECORDS)
            if found.end == 0:
                mark = self._beyond_damage(segment, mark, head)
            else:
                output_bytes = mark.output_bytes + found.output_bytes
                mark = Mark(mark.offset + found.end, output_bytes, found.time_us)
        return mark if mark.offset == offset else _mark_before(mark, offset)

    def _beyond_damage(self, segment: Segment, mark: Mark, head: Mark) -> Mark:
        """The next good record behind the damaged one at ``mark``; where the segment holds none,
        where another begins, or the head.

        How much output the damage held is told by what is counted at that place less what is good
        up to there. Of several damaged stretches the first are taken to have held all they could,
        so that together they hold what is missing.
        """
        follower = self._ledger.locate(segment.start.offset).follower
        target = follower.start if follower is not None else head
        end_offset = min(segment.end_offset, target.offset)
        good = self._next_good(segment, mark, end_offset, target.time_us)
        if good is None:
            return target
        behind_bytes = self._output_behind(segment, good, end_offset, target.time_us)
        if behind_bytes is None:
            return good
        most = max(mark.output_bytes, target.output_bytes - behind_bytes)
        return good._replace(output_bytes=min(good.output_bytes, most))

    def _output_behind(
        self, segment: Segment, mark: Mark, end_offset: int, max_time_us: int
    ) -> int | None:
        """The output in the good records from ``mark`` on; None where there is damage all over."""
        counted_bytes = damaged = 0
        while mark.offset < end_offset:
            size_bytes = min(MAX_BATCH_BYTES, end_offset - mark.offset)
            found = scan(self._fetch(segment, mark.offset, size_bytes), MAX_BATCH_RECORDS)
            counted_bytes += found.output_bytes
            if found.end:
                mark = Mark(mark.offset + found.end, 0, found.time_us)
                continue
            damaged += 1
            if damaged > _COUNTED_PLACES:
                return None
            good = self._next_good(segment, mark, end_offset, max_time_us)
            if good is None:
                break
            mark = good
        return counted_bytes

    def _next_good(
        self, segment: Segment, mark: Mark, end_offset: int, max_time_us: int | None
    ) -> Mark | None:
        """Behind the damaged record at ``mark``, with the most output that there may be up to there.

        A header that tells a size behind which a record checks out is believed: then only the
        payload was damaged. Else any place may be where the next one begins.
        """
        good = self._by_headers(segment, mark, end_offset)
        if good is not None:
            return good
        search = Search(mark.time_us, max_time_us, _SEARCH_BUDGET_BYTES)
        base = mark.offset + 1
        while base < end_offset and not search.is_spent:
            size_bytes = min(SEARCH_WINDOW_BYTES, end_offset - base)
            window = self._fetch(segment, base, size_bytes)
            at = search.find(window)
            if at >= 0:
                most = mark.output_bytes + max(0, base + at - mark.offset - HEADER_BYTES)
                return Mark(base + at, most, time_us_at(window, at))
            base += SEARCH_STEP_BYTES
        return None

    def _by_headers(self, segment: Segment, mark: Mark, end_offset: int) -> Mark | None:
        """The next good record, found by the sizes that the damaged ones tell; None if that fails."""
        for _ in range(_RESYNC_RECORDS):
            try:
                kind, size = measure(self._fetch(segment, mark.offset, HEADER_BYTES), 0)
            except RecordError:
                return None
            output_bytes = mark.output_bytes + output_bytes_in(kind, size)
            mark = Mark(mark.offset + size, output_bytes, mark.time_us)
            if mark.offset >= end_offset:
                return None
            size_bytes = min(MAX_BATCH_BYTES, end_offset - mark.offset)
            following = self._fetch(segment, mark.offset, size_bytes)
            if scan(following, 1).end:
                return mark._replace(time_us=time_us_at(following, 0))
        return None

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
