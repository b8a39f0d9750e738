"""Commits: at once when quiet, one in an interval under load."""

from __future__ import annotations

import pytest

from ptyshipper.backend.ingest.pacing import BULK_BYTES, BURST, INTERVAL_S, Pacer


def test_quiet_session_never_waits() -> None:
    """A write every interval, or more seldom."""
    pacer = Pacer(0.0)
    for turn in range(1_000):
        now_s = turn * INTERVAL_S * 1.01
        assert pacer.delay_s(100, now_s) == 0
        pacer.commit(now_s)


def test_load_is_committed_once_an_interval() -> None:
    """After the burst; a thousand messages in a second make about a hundred commits."""
    pacer, commits, due_s = Pacer(0.0), 0, 0.0
    for turn in range(1_000):
        now_s = turn / 1_000
        due_s = now_s + pacer.delay_s(100, now_s)
        if due_s <= now_s:
            pacer.commit(now_s)
            commits += 1
    assert commits == pytest.approx(BURST + 1 / INTERVAL_S, abs=2)


def test_bulk_never_waits() -> None:
    """However many commits there were."""
    pacer = Pacer(0.0)
    for _ in range(50):
        pacer.commit(0.0)
    assert pacer.delay_s(BULK_BYTES - 1, 0.0) == pytest.approx(INTERVAL_S)
    assert pacer.delay_s(BULK_BYTES, 0.0) == 0


def test_clock_that_steps_back_neither_fills_nor_empties() -> None:
    pacer = Pacer(100.0)
    for _ in range(BURST):
        pacer.commit(100.0)
    assert 0 < pacer.delay_s(1, 50.0) <= INTERVAL_S
