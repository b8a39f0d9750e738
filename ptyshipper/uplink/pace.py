"""How long to pause between batches.

A batch costs both ends the same however small it is, so after a small one the uplink naps, the
longer the more comes. At a steady 200 records a second the nap ends when the next one comes, so a
quieter stream never waits; at 2,000, or 200 kB a second that the pump has gathered into fewer, it is
some 20 batches a second.

A flood is shipped in bursts with naps between, for another reason: shipping takes processor time and
the interpreter's lock away from the pump, and so holds the program up. The spool takes in what comes
meanwhile, and once its spare room is used there are no naps any more. The naps double while the flood
lasts, up to what still looks alive to a reader: a short one is soon shipped, a long one nobody reads.
"""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.wire.messages import MAX_BATCH_BYTES

NAP_S_PER_RECORD_PER_S = 25e-6
NAP_S_PER_BYTE_PER_S = 0.25e-6
MIN_NAP_S = 0.001
MAX_NAP_S = 0.05
BURST_BYTES = 1_048_576
BURST_NAP_S = 0.04
MAX_BURST_NAP_S = 0.32
FLOOD_BYTES_PER_S = 8_000_000
RATE_OVER_S = 0.1
"""Rates are averages over about so long, the past fading."""


class Nap(NamedTuple):
    """Pause for so long, or until so much waits to be sent."""

    length_s: float
    ends_at_bytes: int


NO_NAP = Nap(0.0, 0)


class Pace:
    """The rates of one stream of records.

    Args:
        spare_bytes: of the spool, to take in what comes faster than it is shipped.
    """

    def __init__(self, now_s: float, spare_bytes: int) -> None:
        self._spare_bytes = spare_bytes
        self._records_per_s = 0.0
        self._bytes_per_s = 0.0
        self._batch_s = now_s
        self._burst_bytes = 0
        self._burst_nap_s = BURST_NAP_S
        self._burst_from_offset = 0
        self._burst_from_s = now_s

    def nap(self, record_count: int, size_bytes: int, committed: int, now_s: float) -> Nap:
        """A batch went out now, with the spool's head at ``committed``: the pause before the next."""
        pause_s = now_s - self._batch_s
        self._batch_s = now_s
        over_s = pause_s + RATE_OVER_S
        self._records_per_s = (self._records_per_s * RATE_OVER_S + record_count) / over_s
        self._bytes_per_s = (self._bytes_per_s * RATE_OVER_S + size_bytes) / over_s
        if size_bytes >= MAX_BATCH_BYTES // 2:
            return self._burst_nap(size_bytes, committed, now_s)
        wanted_s = max(
            self._records_per_s * NAP_S_PER_RECORD_PER_S, self._bytes_per_s * NAP_S_PER_BYTE_PER_S
        )
        return Nap(min(MAX_NAP_S, wanted_s), MAX_BATCH_BYTES) if wanted_s >= MIN_NAP_S else NO_NAP

    def _burst_nap(self, size_bytes: int, committed: int, now_s: float) -> Nap:
        self._burst_bytes += size_bytes
        if self._burst_bytes < BURST_BYTES:
            return NO_NAP
        came_bytes, took_s = committed - self._burst_from_offset, now_s - self._burst_from_s
        self._burst_bytes, self._burst_from_offset, self._burst_from_s = 0, committed, now_s
        if came_bytes <= took_s * FLOOD_BYTES_PER_S:
            self._burst_nap_s = BURST_NAP_S
            return NO_NAP
        nap = Nap(self._burst_nap_s, self._spare_bytes)
        self._burst_nap_s = min(2 * self._burst_nap_s, MAX_BURST_NAP_S)
        return nap
