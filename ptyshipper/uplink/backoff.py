"""When to try again: full jitter, so that a thousand shippers do not come back in step.

Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), the variant "full jitter".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

BASE_S = 0.5
CAP_S = 30.0
HURRIED_CAP_S = 1.0
"""While somebody waits for the wrapper's end, there is no use in a long pause."""

SLOW_MIN_S = 60.0
SLOW_MAX_S = 120.0

MAX_ATTEMPTS = 20
ATTEMPTS_WITHIN_S = 60.0


class Backoff:
    """The pauses of one uplink. ``random`` returns a float in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._ceiling_s = BASE_S

    def pause_s(self) -> float:
        """The next pause; each may be twice as long as the one before, up to ``CAP_S``."""
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(CAP_S, ceiling_s * 2)
        return self._random() * ceiling_s

    def hurried_pause_s(self) -> float:
        return self._random() * min(HURRIED_CAP_S, self._ceiling_s)

    def slow_pause_s(self) -> float:
        return SLOW_MIN_S + self._random() * (SLOW_MAX_S - SLOW_MIN_S)

    def reset(self) -> None:
        """Something was acknowledged. A connection that was merely accepted proves nothing."""
        self._ceiling_s = BASE_S


class AttemptLimit:
    """At most ``MAX_ATTEMPTS`` attempts in any ``ATTEMPTS_WITHIN_S``, whatever else is decided.

    Shared by all uplinks of a process.
    """

    def __init__(self) -> None:
        self._attempts_s: deque[float] = deque(maxlen=MAX_ATTEMPTS)

    def earliest_s(self, now_s: float) -> float:
        """When the next attempt may be made; ``now_s`` or later."""
        if len(self._attempts_s) < MAX_ATTEMPTS:
            return now_s
        return max(now_s, self._attempts_s[0] + ATTEMPTS_WITHIN_S)

    def note(self, now_s: float) -> None:
        """An attempt is made now."""
        self._attempts_s.append(now_s)
