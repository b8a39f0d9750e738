"""Naps between small batches."""

from __future__ import annotations

import pytest

from ptyshipper.uplink.pace import MAX_NAP_S, MIN_NAP_S, Pace
from ptyshipper.wire.messages import MAX_BATCH_BYTES


def settled_nap_s(records_per_s: float, size_bytes: int = 116) -> float:
    """The nap of a stream that has gone on for a while, a record a batch."""
    pace, now_s, nap_s = Pace(0.0), 0.0, 0.0
    for _ in range(2000):
        now_s += 1 / records_per_s
        nap_s = pace.nap_s(1, size_bytes, now_s)
    return nap_s


@pytest.mark.parametrize("records_per_s", [1, 20, 100, 180])
def test_a_nap_of_a_quiet_stream_is_over_when_its_next_record_comes(records_per_s: int) -> None:
    assert settled_nap_s(records_per_s) < 1 / records_per_s


def test_naps_grow_with_the_rate_up_to_a_bound() -> None:
    naps_s = [settled_nap_s(rate) for rate in (300, 600, 1200, 5000, 50_000)]
    assert naps_s == sorted(naps_s)
    assert naps_s[-1] == MAX_NAP_S
    assert naps_s[0] > MIN_NAP_S


def test_a_large_batch_is_followed_by_no_nap() -> None:
    assert settled_nap_s(5000, MAX_BATCH_BYTES // 2) == 0


def test_a_rate_is_forgotten() -> None:
    pace = Pace(0.0)
    assert pace.nap_s(1000, 5000, 0.1) == MAX_NAP_S
    assert pace.nap_s(1, 116, 30.1) == 0
