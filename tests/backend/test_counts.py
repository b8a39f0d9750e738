"""Plain numbers, and where an observation falls."""

from __future__ import annotations

from ptyshipper.backend.counts import BYTES, SECONDS, Counts, Histogram


def test_an_observation_counts_at_the_first_bound_that_it_does_not_pass() -> None:
    """As Prometheus wants it: ``le`` is less or equal."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1e9):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == 0.0 + 1.0 + 1.5 + 2.0 + 2.1 + 1e9


def test_bounds_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert list(BYTES) == sorted(set(BYTES))


def test_two_counts_share_nothing() -> None:
    one, other = Counts(), Counts()
    one.refusals["shipper", "token"] += 1
    one.commit_s.observe(1.0)
    assert not other.refusals
    assert sum(other.commit_s.counts) == 0
