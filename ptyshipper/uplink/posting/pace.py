"""How long to pause between posts.

A post costs both ends the same however small it is. So after one that was not full comes a nap, so that
a stream of many small writes costs ten posts a second and not a hundred: at 10 lines a second none, at
1,000 the longest.
"""

from __future__ import annotations

from ptyshipper.uplink.posting.post import MAX_LINES

NAP_S_PER_LINE_PER_S = 1e-4
MIN_NAP_S = 0.001
MAX_NAP_S = 0.1
RATE_OVER_S = 0.2
"""The rate is an average over about so long, the past fading."""


class Pace:
    """The rate of one session's lines."""

    def __init__(self, now_s: float) -> None:
        self._lines_per_s = 0.0
        self._posted_s = now_s

    def nap_s(self, count: int, now_s: float) -> float:
        """A post of ``count`` lines was taken now: the pause before the next."""
        passed_s, self._posted_s = now_s - self._posted_s, now_s
        self._lines_per_s = (self._lines_per_s * RATE_OVER_S + count) / (passed_s + RATE_OVER_S)
        wanted_s = self._lines_per_s * NAP_S_PER_LINE_PER_S
        if count >= MAX_LINES or wanted_s < MIN_NAP_S:
            return 0.0
        return min(MAX_NAP_S, wanted_s)
