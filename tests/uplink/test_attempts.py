"""What a failure leads to, row by row of the table, with pauses as long as they can be."""

from __future__ import annotations

import pytest

from ptyshipper.uplink.attempts import Attempts
from ptyshipper.uplink.backoff import (
    ATTEMPTS_WITHIN_S,
    BASE_S,
    HURRIED_CAP_S,
    MAX_ATTEMPTS,
    SLOW_MAX_S,
    AttemptLimit,
    Backoff,
)
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.outcomes import Action, Outcome
from ptyshipper.wire.messages import ByeReason

NOW_S = 1000.0
NAME = "host:80"


def attempts(
    *,
    live: bool = True,
    name: str | None = NAME,
    max_failures: int | None = None,
    limit: AttemptLimit | None = None,
) -> Attempts:
    plan = Plan(live, ByeReason.ENDED, 2**20, 0, max_failures, name, hindrance=", and why")
    return Attempts(plan, Backoff(lambda: 1.0), limit or AttemptLimit())


def outcome(action: Action, cause: str = "a cause", retry_after_s: float = 0.0) -> Outcome:
    return Outcome(action, cause, "a reason", retry_after_s)


RETRY, SLOW, FALLBACK, GIVE_UP = map(outcome, Action)


@pytest.mark.parametrize(
    ("failure", "pause_s", "text"),
    [
        (RETRY, BASE_S, f"can't ship to {NAME}: a reason; retrying"),
        (SLOW, SLOW_MAX_S, f"can't ship to {NAME}: a reason; will try again in minutes"),
        (FALLBACK, SLOW_MAX_S, f"can't ship to {NAME}: a reason, and why; will try again in minutes"),
        (GIVE_UP, None, f"stopped shipping to {NAME}: a reason"),
    ],
)  # fmt: skip
def test_a_failure_has_its_pause_and_its_words(
    failure: Outcome, pause_s: float | None, text: str
) -> None:
    (warning,), again_s = attempts().fail(failure, NOW_S)
    assert again_s == (None if pause_s is None else NOW_S + pause_s)
    assert warning.text == f"{text}; the program is not affected"


@pytest.mark.parametrize(
    ("failure", "pause_s"), [(RETRY, BASE_S), (SLOW, None), (FALLBACK, None), (GIVE_UP, None)]
)  # fmt: skip
def test_at_the_end_only_what_passes_is_tried_again(
    failure: Outcome, pause_s: float | None
) -> None:
    trying = attempts()
    trying.finish(NOW_S + 10)
    again_s = trying.fail(failure, NOW_S).again_s
    assert again_s == (None if pause_s is None else NOW_S + pause_s)


@pytest.mark.parametrize(("failure", "hurries"), [(RETRY, True), (SLOW, False), (FALLBACK, False)])
def test_a_pause_is_cut_short_at_the_end_where_it_is_of_use(
    failure: Outcome, hurries: bool
) -> None:
    trying = attempts()
    for _ in range(5):
        trying.fail(failure, NOW_S)
    trying.finish(NOW_S + 10)
    assert trying.hurry(NOW_S + 16, NOW_S) == (NOW_S + HURRIED_CAP_S if hurries else None)


def test_what_was_wrong_once_does_not_cut_short_what_is_not_wrong_any_more() -> None:
    trying = attempts()
    trying.fail(SLOW, NOW_S)
    trying.answer()
    trying.finish(NOW_S + 10)
    assert trying.hurry(NOW_S + 0.1, NOW_S) == NOW_S + 0.1


def test_a_leftover_makes_way_at_the_end_and_after_so_many_failures() -> None:
    trying = attempts(live=False, name=None, max_failures=3)
    assert [trying.fail(RETRY, NOW_S).again_s is None for _ in range(3)] == [False, False, True]
    trying = attempts(live=False, name=None)
    trying.finish(NOW_S + 10)
    assert trying.fail(RETRY, NOW_S).again_s is None
    assert trying.hurry(NOW_S, NOW_S) is None


def test_pauses_grow_until_something_is_taken() -> None:
    trying = attempts()
    pauses_s = []
    for _ in range(3):
        pauses_s.append((trying.fail(RETRY, NOW_S).again_s or 0) - NOW_S)
        trying.answer()
    trying.succeed()
    pauses_s.append((trying.fail(RETRY, NOW_S).again_s or 0) - NOW_S)
    assert pauses_s == [BASE_S, 2 * BASE_S, 4 * BASE_S, BASE_S]


def test_what_the_backend_asks_for_is_the_least() -> None:
    trying = attempts()
    asked = outcome(Action.RETRY, retry_after_s=60.0)
    again_s = trying.fail(asked, NOW_S).again_s
    assert trying.not_before_s == NOW_S + 60
    assert again_s is not None
    # Its own pause on top: not all who were told the same time come back at once.
    assert again_s > NOW_S + 60
    trying.finish(NOW_S + 100)
    assert trying.hurry(NOW_S + 60, NOW_S) == NOW_S + 60


def test_the_limit_of_the_process_holds_for_every_attempt() -> None:
    limit = AttemptLimit()
    trying = attempts(limit=limit)
    for _ in range(MAX_ATTEMPTS):
        trying.note(NOW_S)
    assert attempts(limit=limit).fail(RETRY, NOW_S).again_s == NOW_S + ATTEMPTS_WITHIN_S
    assert trying.earliest_s(NOW_S, NOW_S) == NOW_S + ATTEMPTS_WITHIN_S


def test_a_cause_is_told_once_and_nothing_of_what_fails_once() -> None:
    trying = attempts()
    trying.answer()
    assert trying.fail(RETRY, NOW_S).warnings == []
    assert len(trying.fail(RETRY, NOW_S).warnings) == 1
    assert trying.fail(RETRY, NOW_S).warnings == []
    assert len(trying.fail(outcome(Action.RETRY, "another"), NOW_S).warnings) == 1
    trying = attempts()
    trying.answer()
    assert len(trying.fail(SLOW, NOW_S).warnings) == 1, "somebody has to mend it"


def test_the_deadline_is_told_of_unless_the_reason_was() -> None:
    trying = attempts()
    (warning,) = trying.late(7)
    assert warning.text == f"{NAME} did not acknowledge the last 7 bytes in time"
    trying.fail(RETRY, NOW_S)
    assert trying.late(7) == []


def test_of_a_leftover_nothing_is_told() -> None:
    trying = attempts(live=False, name=None)
    assert trying.fail(SLOW, NOW_S).warnings == trying.late(7) == trying.tell("x") == []
