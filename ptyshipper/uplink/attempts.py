"""What a failure leads to: another attempt and when, or the end; and what is said of it. Pure.

===============  =====================================  ======================================
action           the next attempt                       while somebody waits for the end
===============  =====================================  ======================================
RETRY            after a pause with backoff             after a shorter one
SLOW, FALLBACK   in a minute or two                     none
GIVE_UP          none                                   none
===============  =====================================  ======================================

Nor is there one after ``max_failures`` in a row, nor for a session left behind once the wrapper is at
its end. None comes before the time that the backend asked for, or beyond what all deliveries of the
process may make together.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.commands import Warn
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.outcomes import Action, Outcome

CONNECT_TIMEOUT_S = 10.0
FOREVER_S = float("inf")


class Sequel(NamedTuple):
    """After a failure: say this, and try again at ``again_s``; None: never."""

    warnings: list[Warn]
    again_s: float | None


class Attempts:
    """Those of one delivery.

    ``deadline_s`` is when it ends whatever is left, ``is_ending`` that nothing more will come.
    ``is_proven``: the backend has been good to it, so that a single failure is no news.
    ``not_before_s``: nothing may be sent before.
    """

    def __init__(self, plan: Plan, backoff: Backoff, limit: AttemptLimit) -> None:
        self.is_ending = not plan.live
        self.deadline_s = FOREVER_S
        self.is_proven = False
        self.not_before_s = 0.0  # as the backend asked for
        self._plan = plan
        self._backoff = backoff
        self._limit = limit
        self._failures = 0  # in a row
        self._last_action = Action.RETRY
        self._warned: set[str] = set()

    @property
    def has_failed(self) -> bool:
        """The last attempt did, so that the next one counts."""
        return self._failures > 0

    def answer(self) -> None:
        """The backend is there and answers as it should."""
        self.is_proven = True
        self._failures = 0
        self._last_action = Action.RETRY

    def succeed(self) -> None:
        """Something was taken for good."""
        self.answer()
        self._backoff.reset()

    def fail(self, outcome: Outcome, now_s: float) -> Sequel:
        """The attempt or the connection is over."""
        self._failures += 1
        self._last_action = outcome.action
        self.not_before_s = now_s + outcome.retry_after_s
        warnings = self._warnings_for(outcome)
        if (
            outcome.action is Action.GIVE_UP
            or (self.is_ending and outcome.action is not Action.RETRY)
            or (not self._plan.live and self.deadline_s < FOREVER_S)
            or self._failures == self._plan.max_failures
        ):
            return Sequel(warnings, None)
        is_slow = outcome.action is not Action.RETRY
        pause_s = self._backoff.slow_pause_s() if is_slow else self.pause_s()
        # The pause on top: of a thousand that were told the same time, not all come back at once.
        return Sequel(warnings, self.earliest_s(self.not_before_s + pause_s, now_s))

    def pause_s(self) -> float:
        """How long to pause before something is tried again."""
        if self.deadline_s < FOREVER_S:
            return self._backoff.hurried_pause_s()
        return self._backoff.pause_s()

    def earliest_s(self, wanted_s: float, now_s: float) -> float:
        """When an attempt may be made that is wanted at ``wanted_s``."""
        return max(wanted_s, self.not_before_s, self._limit.earliest_s(now_s))

    def note(self, now_s: float) -> None:
        """An attempt is made now."""
        self._limit.note(now_s)

    def finish(self, deadline_s: float) -> None:
        """Nothing more will come; what there is is to be delivered by ``deadline_s``."""
        self.is_ending = True
        self.deadline_s = deadline_s

    def hurry(self, wanted_s: float, now_s: float) -> float | None:
        """After ``finish``: when to make the attempt that was wanted at ``wanted_s``; None: never."""
        if self._last_action is not Action.RETRY or not self._plan.live:
            return None
        return self.earliest_s(min(wanted_s, now_s + self._backoff.hurried_pause_s()), now_s)

    def late(self, missing_bytes: int) -> list[Warn]:
        """What is said where the deadline came first, unless the reason was told already."""
        if self._warned:
            return []
        return self.tell(f"did not acknowledge the last {missing_bytes} bytes in time")

    def tell(self, what: str) -> list[Warn]:
        """Say what the backend did, where there is anybody to tell."""
        return [] if self._plan.name is None else [Warn(f"{self._plan.name} {what}")]

    def _warnings_for(self, outcome: Outcome) -> list[Warn]:
        """At most one per cause, and none for what fails once: connections are lost, proxies reload."""
        is_routine = self.is_proven and self._failures == 1 and outcome.action is Action.RETRY
        if self._plan.name is None or is_routine or outcome.cause in self._warned:
            return []
        self._warned.add(outcome.cause)
        begin, end = f"can't ship to {self._plan.name}", ""
        match outcome.action:
            case Action.RETRY:
                end = "; retrying"
            case Action.SLOW:
                end = "; will try again in minutes"
            case Action.FALLBACK:
                end = f"{self._plan.hindrance}; will try again in minutes"
            case Action.GIVE_UP:
                begin = f"stopped shipping to {self._plan.name}"
            case _:
                assert_never(outcome.action)
        return [Warn(f"{begin}: {outcome.reason}{end}; the program is not affected")]
