"""When the pump naps: never for a quiet stream or a flood, a little for many small pieces."""

from __future__ import annotations

import pytest

from ptyshipper.pump.pace import MAX_PIPE_NAP_US, SUSTAINED_TURNS, Pace

SMALL = 16_384


def play(interval_us: int, piece_bytes: int, turns: int) -> list[int]:
    """The naps that a steady stream of pieces gets."""
    pace, naps, gathered, waited_us = Pace(SMALL, MAX_PIPE_NAP_US), [], piece_bytes, interval_us
    for _ in range(turns):
        nap_us = pace.nap_us(waited_us, gathered)
        naps.append(nap_us)
        pieces = nap_us // interval_us
        gathered = max(1, pieces) * piece_bytes
        waited_us = 0 if pieces else interval_us
    return naps


@pytest.mark.parametrize("per_s", [1, 50, 400, 900])
def test_a_quiet_stream_never_waits(per_s: int) -> None:
    assert set(play(1_000_000 // per_s, 100, 2_000)) == {0}


def test_a_short_burst_never_waits() -> None:
    assert set(play(10, 100, SUSTAINED_TURNS)) == {0}


def test_a_busy_stream_of_small_lines_is_read_in_gulps() -> None:
    naps = play(500, 100, 500)
    assert naps[-1] == MAX_PIPE_NAP_US
    assert naps == sorted(naps)


@pytest.mark.parametrize(("interval_us", "piece_bytes"), [(10, 100), (100, 4_000), (50, 60_000)])
def test_a_flood_is_not_held_up(interval_us: int, piece_bytes: int) -> None:
    """What gathers in a nap stays below what a pipe holds, or the program would stall."""
    naps = play(interval_us, piece_bytes, 2_000)
    assert max(nap // interval_us * piece_bytes for nap in naps) < 65_536


def test_a_pause_ends_it_and_a_hiccup_damps_it() -> None:
    pace = Pace(SMALL, MAX_PIPE_NAP_US)
    for _ in range(500):
        nap_us = pace.nap_us(100, 100)
    assert nap_us == MAX_PIPE_NAP_US
    assert pace.nap_us(2_000, 100) == MAX_PIPE_NAP_US // 2
    assert pace.nap_us(50_000, 100) == 0


def test_a_stream_that_fell_silent_is_waited_for_and_not_napped_for() -> None:
    """Or the pump would wake every few milliseconds for ever."""
    pace = Pace(SMALL, MAX_PIPE_NAP_US)
    for _ in range(500):
        pace.nap_us(100, 100)
    assert pace.nap_us(0, 0) == 0
