"""Naps between batches: small ones, and bursts of a flood."""

from __future__ import annotations

import pytest

from ptyshipper.uplink.pace import (
    BURST_BYTES,
    BURST_NAP_S,
    FLOOD_BYTES_PER_S,
    MAX_BURST_NAP_S,
    MAX_NAP_S,
    MIN_NAP_S,
    NO_NAP,
    Nap,
    Pace,
)
from ptyshipper.wire.messages import MAX_BATCH_BYTES

SPARE_BYTES = 32 * 2**20


def settled_nap_s(records_per_s: float, size_bytes: int = 116) -> float:
    """The nap of a stream that has gone on for a while, a record a batch."""
    pace, now_s, nap_s = Pace(0.0, SPARE_BYTES), 0.0, 0.0
    for _ in range(2000):
        now_s += 1 / records_per_s
        nap_s = pace.nap(1, size_bytes, 0, now_s).length_s
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
    pace = Pace(0.0, SPARE_BYTES)
    assert pace.nap(1000, 5000, 0, 0.1).length_s == MAX_NAP_S
    assert pace.nap(1, 116, 0, 30.1) == NO_NAP


BURST_BATCHES = BURST_BYTES // MAX_BATCH_BYTES


def bursts(committed_per_batch: int, batch_s: float, count: int = 1) -> list[Nap]:
    """The naps of so many bursts of large batches, while the spool's head moves on."""
    pace = Pace(0.0, SPARE_BYTES)
    return [
        pace.nap(8, MAX_BATCH_BYTES, n * committed_per_batch, n * batch_s)
        for n in range(1, count * BURST_BATCHES + 1)
    ]


def test_after_a_burst_of_a_flood_the_spool_takes_in_more_before_the_next() -> None:
    """The nap lasts its time, or until the spare room is used."""
    naps = bursts(MAX_BATCH_BYTES, 0.001)
    assert set(naps[:-1]) == {NO_NAP}
    assert naps[-1] == (BURST_NAP_S, SPARE_BYTES)


def test_the_naps_of_a_flood_that_lasts_double_up_to_a_bound() -> None:
    naps_s = [
        nap.length_s
        for nap in bursts(MAX_BATCH_BYTES, 0.001, 6)[BURST_BATCHES - 1 :: BURST_BATCHES]
    ]
    assert naps_s == [min(BURST_NAP_S * 2**n, MAX_BURST_NAP_S) for n in range(6)]
    assert naps_s[-1] == MAX_BURST_NAP_S


def test_a_flood_that_begins_anew_begins_with_a_short_nap() -> None:
    pace, now_s, committed, naps_s = Pace(0.0, SPARE_BYTES), 0.0, 0, []
    for came_bytes in (MAX_BATCH_BYTES, MAX_BATCH_BYTES, 0, MAX_BATCH_BYTES):
        for _ in range(BURST_BATCHES):
            now_s += 0.001
            committed += came_bytes
            nap = pace.nap(8, MAX_BATCH_BYTES, committed, now_s)
        naps_s.append(nap.length_s)
    assert naps_s == [BURST_NAP_S, 2 * BURST_NAP_S, 0, BURST_NAP_S]


def test_what_is_left_of_a_flood_that_is_over_is_shipped_without_naps() -> None:
    assert set(bursts(0, 0.001)) == {NO_NAP}


def test_a_stream_well_below_a_flood_never_naps_between_large_batches() -> None:
    assert set(bursts(MAX_BATCH_BYTES, MAX_BATCH_BYTES / (FLOOD_BYTES_PER_S / 2))) == {NO_NAP}
