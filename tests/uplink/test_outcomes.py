"""The table of failures, row by row: what a change of any row changes must be changed here too."""

from __future__ import annotations

import pytest

from ptyshipper.uplink.outcomes import (
    CLOSE_CODES,
    MAX_RETRY_AFTER_S,
    POST_STATUSES,
    REFUSALS,
    STATUSES,
    TROUBLES,
    Action,
    Refusal,
    Trouble,
    of_close,
    of_post_status,
    of_status,
    of_trouble,
    refusal_of,
)
from ptyshipper.wire.closing import CloseCode

RETRY, SLOW, FALLBACK, GIVE_UP = Action.RETRY, Action.SLOW, Action.FALLBACK, Action.GIVE_UP

STATUS_ROWS = {
    100: SLOW, 200: FALLBACK, 204: FALLBACK, 301: SLOW, 302: SLOW, 308: SLOW,
    400: FALLBACK, 401: SLOW, 402: SLOW, 403: SLOW, 404: FALLBACK, 405: FALLBACK, 407: SLOW,
    408: RETRY, 410: SLOW, 418: SLOW, 425: RETRY, 426: FALLBACK, 429: RETRY,
    500: RETRY, 501: FALLBACK, 502: RETRY, 503: RETRY, 504: RETRY, 599: RETRY,
    0: SLOW, 999: SLOW,
}  # fmt: skip

POST_ROWS = {
    200: None, 201: None, 204: None, 100: SLOW, 301: SLOW, 302: SLOW, 307: SLOW, 308: SLOW,
    400: SLOW, 401: SLOW, 403: SLOW, 404: FALLBACK, 405: FALLBACK, 408: RETRY, 413: SLOW, 422: SLOW,
    425: RETRY, 426: FALLBACK, 429: RETRY, 500: RETRY, 501: FALLBACK, 502: RETRY, 503: RETRY, 504: RETRY,
}  # fmt: skip
BLAMED_ON_CONTENT = {
    400: Refusal.OF_CONTENT, 413: Refusal.OF_CONTENT, 422: Refusal.OF_CONTENT,
    500: Refusal.MAYBE_OF_CONTENT,
}  # fmt: skip

CLOSE_ROWS = {
    1000: RETRY, 1001: RETRY, 1002: RETRY, 1006: RETRY, 1009: SLOW, 1011: RETRY, 1012: RETRY,
    1013: RETRY, 3000: SLOW, 4400: SLOW, 4401: SLOW, 4403: SLOW, 4404: SLOW, 4406: SLOW,
    4408: RETRY, 4409: GIVE_UP, 4410: GIVE_UP, 4416: RETRY, 4422: SLOW, 4429: RETRY, 4503: RETRY,
    4999: SLOW, None: RETRY,
}  # fmt: skip

TROUBLE_ROWS = {
    Trouble.NO_SUCH_HOST: RETRY, Trouble.UNREACHABLE: RETRY, Trouble.TIMED_OUT: RETRY,
    Trouble.LOST: RETRY, Trouble.CERTIFICATE: SLOW, Trouble.CA_FILE: SLOW, Trouble.TLS: RETRY,
    Trouble.NOT_HTTP: RETRY, Trouble.NOT_OURS: SLOW, Trouble.BROKEN_PROTOCOL: RETRY,
    Trouble.NO_WELCOME: RETRY, Trouble.SILENT: RETRY, Trouble.AHEAD: GIVE_UP,
}  # fmt: skip


@pytest.mark.parametrize(("status", "action"), STATUS_ROWS.items())
def test_status_at_the_upgrade(status: int, action: Action) -> None:
    outcome = of_status(status)
    assert outcome.action is action
    assert str(status) in outcome.reason


@pytest.mark.parametrize(("status", "action"), POST_ROWS.items())
def test_status_of_a_post(status: int, action: Action | None) -> None:
    if action is None:
        assert refusal_of(status) is None
    else:
        assert of_post_status(status).action is action
        assert refusal_of(status) is BLAMED_ON_CONTENT.get(status, Refusal.OF_ALL)


@pytest.mark.parametrize(("code", "action"), CLOSE_ROWS.items())
def test_close_code(code: int | None, action: Action) -> None:
    assert of_close(code).action is action


@pytest.mark.parametrize(("trouble", "action"), TROUBLE_ROWS.items())
def test_trouble(trouble: Trouble, action: Action) -> None:
    assert of_trouble(trouble).action is action


def test_every_row_of_the_table_is_tested_here() -> None:
    assert set(STATUSES) <= set(STATUS_ROWS)
    assert set(POST_STATUSES) | set(REFUSALS) <= set(POST_ROWS)
    assert set(CLOSE_CODES) == set(CloseCode) <= set(CLOSE_ROWS)
    assert set(TROUBLES) == set(Trouble) == set(TROUBLE_ROWS)


def test_what_was_asked_for_is_in_the_outcome() -> None:
    assert of_status(503, 7.0).retry_after_s == of_post_status(429, 7.0).retry_after_s == 7.0


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [("too much; retry after 7 s", 7.0), ("; retry after 0 s", 0.0),
     ("a; retry after 1 s; retry after 2 s", 2.0), ("; retry after 999999999 s", MAX_RETRY_AFTER_S),
     ("", 0.0), ("too much", 0.0), ("retry after 7 s", 0.0), ("; retry after 7", 0.0),
     ("; retry after 7 s or so", 0.0), ("; retry after 1234567890 s", 0.0), ("; retry after  s", 0.0),
     ("; retry after -7 s", 0.0), ("; retry after \u0663 s", 0.0), ("; retry after 7 s ", 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("code", [1012, 1013, 4429, 4503])
def test_a_close_s_retry_time_is_honoured_within_bounds(
    code: int, reason: str, seconds: float
) -> None:
    assert of_close(code, reason).retry_after_s == seconds


def test_a_close_without_a_code_asks_nothing() -> None:
    assert of_close(None, "; retry after 7 s").retry_after_s == 0


def test_causes_tell_warnings_apart() -> None:
    causes = [of_status(401).cause, of_status(403).cause, of_close(4401).cause]
    causes += [of_trouble(trouble).cause for trouble in Trouble]
    assert len(set(causes)) == len(causes)
