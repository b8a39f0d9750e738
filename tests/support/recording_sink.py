"""A sink that keeps what it is given, for looking at."""

from __future__ import annotations

from ptyshipper.records import OUTPUT_KINDS


class RecordingSink:
    """Takes records; ``has_room`` is the test's to set."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, bytes]] = []
        self.flushed = 0
        self.has_room = True
        self.room_fd = -1

    def append(self, kind: int, time_us: int, payload: bytes) -> None:
        self.records.append((kind, time_us, bytes(payload)))

    def flush(self) -> None:
        self.flushed = len(self.records)

    @property
    def output(self) -> bytes:
        return b"".join(payload for kind, _, payload in self.records if kind in OUTPUT_KINDS)
