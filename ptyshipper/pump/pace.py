"""When to look again: a stream of many small writes is read in gulps, any other at once.

Waking up costs 20 to 80 us of CPU here, and the interpreter is cold then, so that reading and passing
on 100 bytes takes another 100: at 2,000 lines a second that is 0.4 s of CPU a MB. So where small pieces
have kept coming for a while, the pump naps between reads, a few hundredths of a second at most, and
takes what has gathered. Signals and keys end a nap.

A nap must never stall the program, so it is cut short as soon as what gathers in it comes near what a
pipe or a pty holds. Pure: the clock is the caller's.
"""

from __future__ import annotations

SUSTAINED_TURNS = 64
"""So many small pieces in quick succession make a busy stream; a redraw or a listing is shorter."""
QUICK_US = 1_000
"""A piece that comes this soon after we began to wait is one in quick succession."""
PAUSE_US = 20_000
"""A pause this long ends a busy stream; a shorter one, as a loaded machine makes them, damps it."""
NAP_STEP_US = 500
MAX_PIPE_NAP_US = 33_000
MAX_PTY_NAP_US = 12_000
"""A person who looks at a terminal sees 80 pictures a second; who reads a log sees 30."""


class Pace:
    """The nap of one pump.

    Args:
        small_bytes: as much may gather in a nap; a fraction of what the program can write ahead.
        max_nap_us: the longest nap.
    """

    def __init__(self, small_bytes: int, max_nap_us: int) -> None:
        self._small_bytes = small_bytes
        self._max_nap_us = max_nap_us
        self._quick_turns = 0
        self._nap_us = 0

    def nap_us(self, waited_us: int, taken_bytes: int) -> int:
        """How long to nap now, having waited ``waited_us`` for ``taken_bytes``; 0: not at all."""
        if not taken_bytes:
            return 0  # the nap was for nothing, so the next wait is for something
        if waited_us > PAUSE_US:
            self._quick_turns = self._nap_us = 0
        elif waited_us > QUICK_US:
            self._quick_turns //= 2
            self._nap_us //= 2
        elif taken_bytes > self._small_bytes:
            self._quick_turns = 0
            self._nap_us //= 2
        elif self._quick_turns < SUSTAINED_TURNS:
            self._quick_turns += 1
        else:
            self._nap_us = min(self._nap_us + NAP_STEP_US, self._max_nap_us)
        return self._nap_us
