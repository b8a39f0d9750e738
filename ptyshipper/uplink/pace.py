"""How long to pause between small batches.

A batch costs both ends the same however small it is, so after a small one the uplink naps, the
longer the more comes. At a steady 200 records a second the nap ends when the next one comes, so a
quieter stream never waits; at 2,000, or 200 kB a second that the pump has gathered into fewer, it is
some 30 batches a second.
"""

from __future__ import annotations

from ptyshipper.wire.messages import MAX_BATCH_BYTES

NAP_S_PER_RECORD_PER_S = 25e-6
NAP_S_PER_BYTE_PER_S = 0.15e-6
MIN_NAP_S = 0.001
MAX_NAP_S = 0.04
RATE_OVER_S = 0.1
"""Rates are averages over about so long, the past fading."""


class Pace:
    """The rates of one stream of records."""

    def __init__(self, now_s: float) -> None:
        self._records_per_s = 0.0
        self._bytes_per_s = 0.0
        self._batch_s = now_s

    def nap_s(self, record_count: int, size_bytes: int, now_s: float) -> float:
        """A batch went out now: how long to nap before the next small one."""
        pause_s = now_s - self._batch_s
        self._batch_s = now_s
        over_s = pause_s + RATE_OVER_S
        self._records_per_s = (self._records_per_s * RATE_OVER_S + record_count) / over_s
        self._bytes_per_s = (self._bytes_per_s * RATE_OVER_S + size_bytes) / over_s
        wanted_s = max(
            self._records_per_s * NAP_S_PER_RECORD_PER_S, self._bytes_per_s * NAP_S_PER_BYTE_PER_S
        )
        nap_s = min(MAX_NAP_S, wanted_s)
        return nap_s if nap_s >= MIN_NAP_S and size_bytes < MAX_BATCH_BYTES // 2 else 0.0
