"""Pauses between attempts."""

from __future__ import annotations

from itertools import pairwise

from ptyshipper.uplink.backoff import (
    ATTEMPTS_WITHIN_S,
    BASE_S,
    CAP_S,
    HURRIED_CAP_S,
    MAX_ATTEMPTS,
    AttemptLimit,
    Backoff,
)


def test_ceiling_doubles_up_to_the_cap_and_resets() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.pause_s() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backoff.reset()
    assert backoff.pause_s() == BASE_S


def test_jitter_is_full() -> None:
    assert Backoff(lambda: 0.0).pause_s() == 0.0
    assert Backoff(lambda: 0.25).pause_s() == BASE_S / 4


def test_a_hurried_pause_is_short_however_often_it_failed() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(20):
        assert backoff.pause_s() <= CAP_S
    assert backoff.hurried_pause_s() == HURRIED_CAP_S


def test_a_slow_pause_is_one_to_two_minutes() -> None:
    assert Backoff(lambda: 0.0).slow_pause_s() == 60
    assert Backoff(lambda: 1.0).slow_pause_s() == 120


def test_never_more_attempts_than_the_limit_in_any_window() -> None:
    limit, now_s, made_s = AttemptLimit(), 100.0, []
    while len(made_s) < 5 * MAX_ATTEMPTS:
        now_s = limit.earliest_s(now_s)
        limit.note(now_s)
        made_s.append(now_s)
        now_s += 0.01
    windows = zip(made_s, made_s[MAX_ATTEMPTS:], strict=False)
    assert all(later - earlier > ATTEMPTS_WITHIN_S - 1e-6 for earlier, later in windows)
    assert all(b - a < ATTEMPTS_WITHIN_S + 1e-6 for a, b in pairwise(made_s))
