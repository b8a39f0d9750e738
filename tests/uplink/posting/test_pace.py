"""How long to pause between posts."""

from __future__ import annotations

import pytest

from ptyshipper.uplink.posting.pace import MAX_NAP_S, Pace
from ptyshipper.uplink.posting.post import MAX_LINES


def nap_of(count: int, every_s: float) -> float:
    """The nap that a steady stream of so many lines a post settles at."""
    pace = Pace(0.0)
    return [pace.nap_s(count, turn * every_s) for turn in range(1, 200)][-1]


def test_a_line_now_and_then_never_waits() -> None:
    assert nap_of(1, 0.2) == 0.0


@pytest.mark.parametrize(("per_s", "nap_s"), [(100, 0.01), (250, 0.025)])
def test_the_more_lines_come_the_longer_they_gather(per_s: int, nap_s: float) -> None:
    assert nap_of(1, 1 / per_s) == pytest.approx(nap_s, rel=0.1)


def test_no_line_gathers_for_longer_than_the_longest() -> None:
    assert nap_of(400, 0.01) == MAX_NAP_S


def test_a_full_post_is_followed_by_the_next() -> None:
    assert nap_of(MAX_LINES, 0.01) == 0.0
