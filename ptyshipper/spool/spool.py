"""Takes the records of the running program, at once and without ever failing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ptyshipper.config import SpoolSettings
from ptyshipper.errors import SpoolError
from ptyshipper.records import HEADER_BYTES, OUTPUT_KINDS, GapCause, header
from ptyshipper.spool.directory import SessionFolder
from ptyshipper.spool.ledger import Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.spool.segment import FileSegment, Mark, MemorySegment, Segment
from ptyshipper.wire.messages import MAX_BATCH_BYTES

MIN_BYTES = 512 * 2**10
"""A smaller bound is taken as this: segments must hold the largest record."""

MAX_SUBSTITUTE_BYTES = 8 * 2**20
"""What memory holds, at most, where a disk was asked for and failed: it is the program's memory."""

_SEGMENT_BYTES = 4 * 2**20
_SEGMENTS = 8
_OUTPUT = frozenset(int(kind) for kind in OUTPUT_KINDS)


class Spool:
    """One session's spool. All methods are the main thread's; ``ledger`` is the way to a reader.

    ``has_room`` is false only where the settings say to block and the spool is full: then the pump
    stops reading the program until ``room_fd`` becomes readable. Records that are appended all the
    same are kept.

    ``dead_bytes`` is what dead sessions hold of the same bound, on the disk; the uplink's to set.
    """

    def __init__(
        self,
        session_id: bytes,
        description: dict[str, Any],
        folder: SessionFolder | None,
        settings: SpoolSettings,
        warn: Callable[[str], None],
    ) -> None:
        self.session_id = session_id
        self.description = description
        self.ledger = Ledger()
        self.notes = Notes(folder.path if folder is not None else None)
        self.data_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._folder = folder
        self._in_memory = folder is None
        self._may_drop = settings.overflow == "drop"
        self._cause = GapCause.OVERFLOW
        self._warn = warn
        self._max_bytes = max(settings.max_bytes, MIN_BYTES)
        if folder is None and settings.directories:
            self._max_bytes = min(self._max_bytes, MAX_SUBSTITUTE_BYTES)
        self.dead_bytes = 0
        self._abandoned = False  # set by any thread, once
        self._segment: Segment | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_output_bytes = 0
        self._pending_time_us = 0
        self._time_us = 0

    @classmethod
    def open(
        cls,
        settings: SpoolSettings,
        session_id: bytes,
        description: dict[str, Any],
        warn: Callable[[str], None],
    ) -> Spool:
        """The spool of a new session; in memory where no disk can be used, with a warning if one was
        chosen."""
        folder = None
        for directory in settings.directories:
            try:
                folder = SessionFolder.create(str(directory), session_id, description)
                break
            except OSError as error:
                if settings.is_chosen:
                    warn(
                        f"can't spool in {directory}: {error.strerror}; "
                        "what is not shipped yet is kept in memory"
                    )
        return cls(session_id, description, folder, settings, warn)

    def address(self, endpoint: str) -> None:
        """Say for which backend the session is, before the first record; see ``leftovers``."""
        if self._folder is not None:
            try:
                self._folder.address(endpoint)
            except (SpoolError, OSError):
                pass  # the records will meet the same disk, and that is warned of

    @property
    def has_room(self) -> bool:
        return self.ledger.has_room

    @property
    def room_fd(self) -> int:
        return self.ledger.room_fd

    @property
    def window_bytes(self) -> int:
        """The most that a reader may have sent and not seen acknowledged.

        Segments with such records are not dropped, so it is a fraction of what memory may hold.
        """
        return max(min(self._max_bytes, MAX_SUBSTITUTE_BYTES) // 4, MAX_BATCH_BYTES)

    @property
    def spare_bytes(self) -> int:
        """What may fill up while a reader takes its time; the rest is for what comes meanwhile."""
        return self._bound_bytes() * 3 // 4

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        """Add a record. It can be read after the next ``flush``."""
        self._pending.append(header(kind, time_us, payload))
        self._pending.append(payload)
        size = HEADER_BYTES + len(payload)
        if not self._pending_bytes:
            self._pending_time_us = time_us
        self._pending_bytes += size
        if kind in _OUTPUT:
            self._pending_output_bytes += size - HEADER_BYTES
        self._time_us = time_us

    def flush(self) -> None:
        """Make what was appended readable, and wake the reader if it waits for that."""
        size = self._pending_bytes
        if not size:
            return
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        ledger = self.ledger
        head = ledger.head
        if not (self._abandoned and self._in_memory):
            self._store(pending, size)
        ledger.head = Mark(
            head.offset + size, head.output_bytes + self._pending_output_bytes, self._time_us
        )
        self._pending_output_bytes = 0
        # The reader sets wake_at_offset and then looks at the head again, so one of us sees it.
        if head.offset + size >= ledger.wake_at_offset:
            os.eventfd_write(self.data_fd, 1)

    def abandon(self) -> None:
        """Nobody will deliver this session any more from this process (any thread).

        What is on the disk stays for a successor; memory is freed, and a blocked pump goes on.
        """
        self._abandoned = self._may_drop = True
        self.ledger.abandon()

    def close(self) -> None:
        """Flush and let go, after the reader's last call; delete what was acknowledged whole."""
        self.flush()
        self.ledger.close()
        os.close(self.data_fd)
        if self._folder is not None:
            if self.ledger.acked_offset >= self.ledger.head.offset:
                self._folder.delete()
            else:
                self._folder.close()

    def _store(self, pending: list[bytes], size_bytes: int) -> None:
        try:
            self._segment_for(size_bytes).append(pending, size_bytes)
        except OSError as error:
            self._in_memory = True
            if self._abandoned:
                return
            self._warn(
                f"the spool failed: {error.strerror}; what is not shipped yet is kept in memory"
            )
            self._cause = GapCause.SPOOL_FAILED
            self._max_bytes = min(self._max_bytes, MAX_SUBSTITUTE_BYTES)
            self._segment = None
            self._segment_for(size_bytes).append(pending, size_bytes)

    def _bound_bytes(self) -> int:
        """What the dead leave of the bound, and half of it in any case: the last output says why
        a program crashes. So both together hold at most half more than the bound."""
        if self._in_memory:
            return self._max_bytes
        return max(self._max_bytes - self.dead_bytes, self._max_bytes // 2)

    def _segment_for(self, size_bytes: int) -> Segment:
        """The segment that takes the next ``size_bytes``: the newest, or where that is full, another.

        Raises:
            OSError: the disk would not take another.
        """
        segment = self._segment
        limit_bytes = min(_SEGMENT_BYTES, self._max_bytes // _SEGMENTS)
        if segment is not None:
            held_bytes = segment.end_offset - segment.start.offset
            if held_bytes + size_bytes <= limit_bytes:
                return segment
        head = self.ledger.head
        start = Mark(head.offset, head.output_bytes, self._pending_time_us)
        room_bytes = self._bound_bytes() - max(limit_bytes, size_bytes)
        if self._in_memory or self._folder is None:
            segment = MemorySegment(start)
        else:
            segment = FileSegment.create(self._folder.path, self.session_id, start)
        self.ledger.add(segment)
        self.ledger.make_room(segment.in_memory, room_bytes, self._may_drop, self._cause)
        self._segment = segment
        return segment
