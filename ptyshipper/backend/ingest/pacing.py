"""When to commit: at once while it is quiet, less often the busier it gets. Pure."""

from __future__ import annotations

BURST = 8
"""So many commits may follow each other directly after a quiet spell: what a person types and sees."""
INTERVAL_S = 0.010
"""Under load, one commit in so many seconds: a sync of the disk then covers what came meanwhile, and
a shipper, which gathers while it waits for its ACK, sends a tenth of the messages."""
BULK_BYTES = 262_144
"""So much waiting is worth a commit of its own, and holding it up would stall its senders' windows."""


class Pacer:
    """A bucket of ``BURST`` commits that refills by one every ``INTERVAL_S``."""

    __slots__ = ("_commits", "_filled_s")

    def __init__(self, now_s: float) -> None:
        self._commits = float(BURST)
        self._filled_s = now_s

    def delay_s(self, pending_bytes: int, now_s: float) -> float:
        """How long what is pending should wait."""
        self._fill(now_s)
        if pending_bytes >= BULK_BYTES or self._commits >= 1:
            return 0.0
        return (1 - self._commits) * INTERVAL_S

    def commit(self, now_s: float) -> None:
        """A commit was made."""
        self._fill(now_s)
        self._commits = max(0.0, self._commits - 1)

    def _fill(self, now_s: float) -> None:
        gained = max(0.0, now_s - self._filled_s) / INTERVAL_S
        self._commits = min(float(BURST), self._commits + gained)
        self._filled_s = now_s
