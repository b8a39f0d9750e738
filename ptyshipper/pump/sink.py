"""What the pump asks of whatever takes its records, one that takes none, and two as one."""

from __future__ import annotations

from typing import Protocol


class RecordSink(Protocol):
    """Takes records in order. Nothing here may wait for a disk to sync, a lock or a network."""

    @property
    def has_room(self) -> bool:
        """False: read no more of the program's output until ``room_fd`` is readable."""

    @property
    def room_fd(self) -> int:
        """Readable when there is room again; -1 where there always is."""

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        """Take one record; it counts as written only after ``flush``."""

    def flush(self) -> None:
        """Once a turn: put what was appended where a crash of this process can't reach it."""


class NoSink:
    """For a wrapper that has nowhere to ship to."""

    has_room = True
    room_fd = -1

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        pass

    def flush(self) -> None:
        pass


class TwoSinks:
    """Two as one; only the first may have no room."""

    def __init__(self, first: RecordSink, second: RecordSink) -> None:
        self._first = first
        self._second = second

    @property
    def has_room(self) -> bool:
        return self._first.has_room

    @property
    def room_fd(self) -> int:
        return self._first.room_fd

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        self._first.append(kind, time_us, payload)
        self._second.append(kind, time_us, payload)

    def flush(self) -> None:
        self._first.flush()
        self._second.flush()
