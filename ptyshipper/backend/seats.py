"""How many look on, and how many may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

NO_SEAT_RETRY_S = 5


class Seats:
    """One for each viewer, of whatever kind; ``taken`` counts them by kind. ``limit`` None: any number."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.taken: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return self._limit is not None and self.taken.total() >= self._limit

    @contextmanager
    def seat(self, kind: str) -> Iterator[bool]:
        """Take one for as long as this lasts; False where there is none."""
        if self.is_full:
            yield False
            return
        self.taken[kind] += 1
        try:
            yield True
        finally:
            self.taken[kind] -= 1
