"""How much a session printed, by time, from what is known of its chunks without their records. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.backend.store.base import Sketch


class Bucket(NamedTuple):
    """Bytes of records and entries from ``begin_us`` (since the session began) to the next bucket's."""

    begin_us: int
    record_bytes: int
    entries: int


class Histogram:
    """So many buckets from ``begin_us`` to before ``end_us``; what a chunk holds is spread evenly over its
    own time.

    It is read off two sums, at the times at which buckets end. So one pass is enough, and whatever the
    chunks of a hostile session say of their times, buckets add up to what came within them.
    """

    def __init__(self, begin_us: int, end_us: int, buckets: int) -> None:
        self._edges_us = [
            begin_us + (end_us - begin_us) * at // buckets for at in range(buckets + 1)
        ]
        self._sums: list[tuple[int, int]] = []
        self._record_bytes = self._entries = 0

    def add(self, chunk: Sketch) -> None:
        """The chunks come in order."""
        count, took_us = (
            chunk.end_entry - chunk.first_entry,
            chunk.last_time_us - chunk.first_time_us,
        )
        while len(self._sums) < len(self._edges_us):
            edge_us = self._edges_us[len(self._sums)]
            if edge_us > chunk.last_time_us:
                break
            passed_us = max(0, edge_us - chunk.first_time_us)
            self._sums.append(
                (
                    self._record_bytes
                    + (chunk.record_bytes * passed_us // took_us if took_us else 0),
                    self._entries + (count * passed_us // took_us if took_us else 0),
                )
            )
        self._record_bytes += chunk.record_bytes
        self._entries += count

    def buckets(self) -> list[Bucket]:
        """What has been added by now."""
        missing = len(self._edges_us) - len(self._sums)
        sums = [*self._sums, *[(self._record_bytes, self._entries)] * missing]
        return [
            Bucket(begin_us, size - size_before, count - count_before)
            for begin_us, (size_before, count_before), (size, count) in zip(
                self._edges_us, sums, sums[1:], strict=False
            )
        ]
