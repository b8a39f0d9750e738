"""Who was not let in: counted always, and told to the operator now and then.

Anybody on the network may be refused as often as they like, so a line of the log is good for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import Scope

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.journal import NAME, told

TELL_EVERY_S = 60.0

CAUSES = {HTTPStatus.UNAUTHORIZED: "token", HTTPStatus.FORBIDDEN: "token"}
"""Of what access answers with; anything else is called by its status."""

log = logging.getLogger(NAME)


class Refusals:
    """``clock`` is any steady one, in seconds."""

    def __init__(self, counts: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._clock = clock
        self._told_s: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], int] = {}

    def note(self, peer: str, cause: HTTPStatus | str, scope: Scope | None = None) -> None:
        """A ``shipper`` or a ``viewer`` was refused; ``scope`` tells from where it came."""
        if isinstance(cause, HTTPStatus):
            cause = CAUSES.get(cause, str(cause.value))
        key = peer, cause
        self._counts.refusals[key] += 1
        now_s = self._clock()
        last_s = self._told_s.get(key)
        if last_s is not None and now_s - last_s < TELL_EVERY_S:
            self._untold[key] = self._untold.get(key, 0) + 1
            return
        self._told_s[key] = now_s
        client = scope.get("client") if scope else None
        address = client[0] if client else "unknown"
        others = self._untold.pop(key, 0)
        log.warning(
            "a %s was refused", peer, extra=told(cause=cause, address=address, others_since=others)
        )
