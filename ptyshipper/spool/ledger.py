"""Which segments are held: all that the writer's and the reader's threads share.

``lock`` is held for the few lines that change or search the list, never across a read or a write
of records, so neither thread waits for the other's disk. Each plain attribute has one thread that
sets it, and the other, where it sees the previous value, is merely late.
"""

from __future__ import annotations

import _thread
import os
from bisect import bisect_right
from typing import NamedTuple

from ptyshipper.records import GapCause
from ptyshipper.spool.segment import ORIGIN, Mark, Segment

NEVER = 2**63
"""A wake-up offset that no session reaches."""

KEEP_RELEASED_S = 2.0
"""How long acknowledged files stay where there is room: for a backend that lost its last second."""


class Place(NamedTuple):
    """What is held at an offset: the segment there, and its neighbours, each None if there is none.

    In a hole ``segment`` is None, and the neighbours are those of the hole.
    """

    before: Segment | None
    segment: Segment | None
    follower: Segment | None


class Ledger:
    """The segments of one session, oldest first, and how far its writer and its reader are.

    A segment of which something was sent and not acknowledged is never dropped: from its beginning
    whoever delivers the session, a successor included, can count what a gap lost.
    """

    def __init__(self) -> None:
        self.head: Mark = ORIGIN  # the writer's: everything before it can be read
        self.acked_offset = 0  # the reader's
        self.sent_offset = 0  # the reader's
        self.wake_at_offset = NEVER  # the reader's: to be woken once the head gets there
        self.has_room = True  # under the lock
        self.room_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = _thread.allocate_lock()
        self._segments: list[Segment] = []  # under the lock
        self._room_bytes = 0  # under the lock: at most so much unacknowledged means room again

    def add(self, segment: Segment) -> None:
        """A new newest segment; the one before it takes no more records."""
        with self._lock:
            if self._segments:
                self._segments[-1].seal()
            self._segments.append(segment)

    def locate(self, offset: int) -> Place:
        """What is held at ``offset``."""
        with self._lock:
            segments = self._segments
            next_index = bisect_right(segments, offset, key=_start_offset)
            follower = segments[next_index] if next_index < len(segments) else None
            segment = segments[next_index - 1] if next_index else None
            if segment is None or offset >= segment.end_offset:
                return Place(segment, None, follower)
            return Place(segments[next_index - 2] if next_index > 1 else None, segment, follower)

    def open_for_reading(self, segment: Segment) -> None:
        """Get ``segment`` ready to be read, apart from the moment in which the writer seals it.

        Raises:
            OSError: its file is gone, or can't be opened.
        """
        with self._lock:
            segment.open_for_reading()

    def first_offset(self) -> int:
        """Where the oldest segment begins; the head's offset where none is held."""
        with self._lock:
            return self._segments[0].start.offset if self._segments else self.head.offset

    def make_room(self, in_memory: bool, max_bytes: int, may_drop: bool, cause: GapCause) -> None:
        """Take away the oldest segments, of memory or of the disk, until ``max_bytes`` are held.

        What was acknowledged goes first, the rest only if ``may_drop``; it leaves a hole for which
        ``cause`` is noted. Where it is not enough, ``has_room`` turns false until a release.
        """
        gone = []
        with self._lock:
            excess_bytes = self._held_bytes(in_memory) - max_bytes
            index = 0
            while excess_bytes > 0 and index < len(self._segments) - 1:
                segment = self._segments[index]
                released = self._is_released(index)
                if segment.in_memory == in_memory and (
                    released or (may_drop and not self._is_in_flight(segment))
                ):
                    excess_bytes -= segment.end_offset - segment.start.offset
                    if not released:
                        self._segments[index + 1].cause = cause
                    gone.append(self._segments.pop(index))
                else:
                    index += 1
            if excess_bytes > 0 and not may_drop and self.has_room:
                self.has_room = False
                self._room_bytes = max_bytes
                _drain(self.room_fd)
        _delete(gone)

    def release(self, offset: int, now_s: float) -> None:
        """Everything before ``offset`` was acknowledged, and nothing behind: what is held of it may go.

        Files stay for ``KEEP_RELEASED_S`` (of the monotonic ``now_s``), memory is freed at once. A
        backend that lost what it had acknowledged goes back: what it needs again must not go now.
        """
        gone = []
        with self._lock:
            if offset < self.acked_offset:
                for segment in self._segments:
                    segment.released_at_s = None
            self.acked_offset = offset
            index = 0
            while index < len(self._segments) - 1 and self._is_released(index):
                segment = self._segments[index]
                if segment.released_at_s is None:
                    segment.released_at_s = now_s
                if segment.in_memory or now_s - segment.released_at_s >= KEEP_RELEASED_S:
                    gone.append(self._segments.pop(index))
                else:
                    index += 1
            if not self.has_room and self._unacknowledged_bytes() <= self._room_bytes:
                self._give_room()
        _delete(gone)

    def abandon(self) -> None:
        """Nobody will read any more: free the memory, and let nothing wait for room."""
        with self._lock:
            self._segments = [segment for segment in self._segments if not segment.in_memory]
            self._give_room()

    def close(self) -> None:
        """Close every descriptor but the reader's own, which are that thread's to close."""
        with self._lock:
            for segment in self._segments:
                segment.seal()
            fd, self.room_fd = self.room_fd, -1
            if fd >= 0:
                os.close(fd)

    def _is_released(self, index: int) -> bool:
        """All of it was acknowledged, and what follows begins where the count can be taken up.

        Of a segment before a hole the end is that place, until the hole was acknowledged too.
        """
        return self._segments[index + 1].start.offset <= self.acked_offset

    def _is_in_flight(self, segment: Segment) -> bool:
        """The first segment that is not acknowledged whole counts as such: see the class."""
        return segment.start.offset < self.sent_offset or segment.start.offset <= self.acked_offset

    def _held_bytes(self, in_memory: bool) -> int:
        return sum(
            segment.end_offset - segment.start.offset
            for segment in self._segments
            if segment.in_memory == in_memory
        )

    def _unacknowledged_bytes(self) -> int:
        return sum(
            segment.end_offset - segment.start.offset
            for segment in self._segments
            if segment.end_offset > self.acked_offset
        )

    def _give_room(self) -> None:
        self.has_room = True
        if self.room_fd >= 0:
            os.eventfd_write(self.room_fd, 1)


def _start_offset(segment: Segment) -> int:
    return segment.start.offset


def _delete(segments: list[Segment]) -> None:
    """Without the lock: to free the blocks of a file may take the disk a while."""
    for segment in segments:
        segment.delete()


def _drain(eventfd: int) -> None:
    try:
        os.eventfd_read(eventfd)
    except BlockingIOError:
        pass  # it was not set
