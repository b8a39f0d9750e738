"""What this process has done so far, in plain numbers; ``metrics`` tells them.

Plain, because some are counted for each batch: a labelled counter of prometheus-client takes 1.2 us and
a lock, an addition 0.05 us.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)
BYTES = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0)


class Histogram:
    """How many observations lay at or below each bound, and beyond the last one; and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def _of_seconds() -> Histogram:
    return Histogram(SECONDS)


def _of_bytes() -> Histogram:
    return Histogram(BYTES)


@dataclass(slots=True)
class Counts:
    """All of it since the process began.

    Bytes are those of records. ``closes``: connections that the backend closed, by who was at the other end
    and the close code. ``refusals``: who was not let in, or whose batch was not taken, by peer and cause.
    ``store_errors``: by what was tried.

    ``commit_s``: what a transaction took. ``ack_s``: from the first batch that waited for a commit to the
    ACK, once for each session in it. ``delay_s``: from the time of the newest record in a write, by the
    shipper's clock, to its commit, by ours; below 0 (the clocks differ) counts as 0, and what waited in a
    spool counts with all that it waited.
    """

    received_batches: int = 0
    received_bytes: int = 0
    stored_bytes: int = 0
    stored_entries: int = 0
    gaps: int = 0
    lost_bytes: int = 0
    viewer_resyncs: int = 0
    expired: int = 0
    closes: Counter[tuple[str, int]] = field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    store_errors: Counter[str] = field(default_factory=Counter)
    commit_s: Histogram = field(default_factory=_of_seconds)
    commit_bytes: Histogram = field(default_factory=_of_bytes)
    ack_s: Histogram = field(default_factory=_of_seconds)
    delay_s: Histogram = field(default_factory=_of_seconds)
