"""Limits, at times that the test says: what is refused, for how long, and that nothing is held for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.ingest import allowance
from ptyshipper.backend.ingest.allowance import (
    BULK_WAITING_BYTES,
    BURST_S,
    FULL,
    RESTARTING,
    SESSIONS,
    WAITING_BYTES,
    Allowance,
    Bucket,
    Limits,
)
from ptyshipper.wire.closing import CloseCode, retry_after_s
from ptyshipper.wire.messages import MAX_BATCH_BYTES

RATE = 100_000
BATCH = 50_000
NOT_MUCH = 0


def test_a_bucket_gives_a_burst_then_its_rate() -> None:
    bucket = Bucket(10.0, 0.0)
    assert all(bucket.take(10, 0.0) for _ in range(4))
    assert not bucket.take(1, 0.0)
    assert bucket.take(10, 1.0)
    assert not bucket.take(1, 1.0)


def test_a_debt_is_paid_off_before_the_next() -> None:
    """A batch may be larger than all that the bucket holds: it is let through once."""
    bucket = Bucket(10.0, 0.0)
    assert bucket.take(100, 0.0)  # 60 more than there were
    assert bucket.wait_s(0.0) == 6 + BURST_S / 2
    assert not bucket.take(1, 6.0)
    assert bucket.take(1, 6.1)


def test_who_waits_as_told_finds_it_half_full() -> None:
    bucket = Bucket(10.0, 0.0)
    bucket.take(40, 0.0)
    later_s = bucket.wait_s(0.0)
    assert later_s == BURST_S / 2
    assert bucket.wait_s(later_s) == 0
    assert all(bucket.take(10, later_s) for _ in range(2))
    assert not bucket.take(10, later_s)


@given(
    sizes=st.lists(st.integers(1, MAX_BATCH_BYTES), min_size=50, max_size=200),
    rate=st.integers(1_000, 1_000_000),
    pauses_s=st.lists(st.floats(0, 5), min_size=200, max_size=200),
)
def test_never_more_than_the_rate_the_burst_and_one_batch(
    sizes: list[int], rate: int, pauses_s: list[float]
) -> None:
    """However one asks; and a clock that stands still or goes back gives nothing away."""
    bucket, now_s, taken = Bucket(rate, 0.0), 0.0, 0
    for size, pause_s in zip(sizes, pauses_s, strict=False):
        now_s += pause_s
        taken += size if bucket.take(size, now_s) else 0
        bucket.take(0, now_s - 1)
    assert taken <= rate * (now_s + BURST_S) + MAX_BATCH_BYTES + 1


def test_over_the_rate_is_refused_until_the_time_that_is_told() -> None:
    """For all of the deployment's sessions, at every step, and for nobody else."""
    judge = Allowance(Limits(max_rate_bytes_per_s=RATE))
    assert judge.open(7, False, NOT_MUCH, 0.0) is None
    brought = 0
    while judge.bring(7, BATCH, BATCH, NOT_MUCH, 0.0) is None:
        brought += BATCH
    assert brought == RATE * BURST_S
    refusal = judge.bring(7, BATCH, BATCH, NOT_MUCH, 0.0)
    assert refusal is not None
    assert (refusal.code, refusal.cause) == (CloseCode.TOO_MANY, "rate")
    assert refusal.retry_after_s == BURST_S / 2
    assert judge.connect(7, NOT_MUCH, 0.0) == refusal
    assert judge.open(7, False, NOT_MUCH, 0.0) == refusal
    assert judge.connect(8, NOT_MUCH, 0.0) is None
    assert judge.open(8, False, NOT_MUCH, 0.0) is None
    assert judge.connect(None, NOT_MUCH, 0.0) is None, "whose it is is not known yet"
    later_s = 0.0 + refusal.retry_after_s
    assert judge.connect(7, NOT_MUCH, later_s) is None
    assert judge.open(7, False, NOT_MUCH, later_s) is None
    assert judge.bring(7, BATCH, BATCH, NOT_MUCH, later_s) is None


def test_sessions_are_counted_by_deployment_and_one_that_comes_back_is_let_in() -> None:
    judge = Allowance(Limits(max_sessions=2))
    assert judge.open(7, False, NOT_MUCH, 0.0) is None
    assert judge.open(7, False, NOT_MUCH, 0.0) is None
    assert judge.open(7, False, NOT_MUCH, 0.0) == SESSIONS
    assert judge.open(8, False, NOT_MUCH, 0.0) is None
    assert judge.open(None, False, NOT_MUCH, 0.0) is None
    assert judge.open(7, True, NOT_MUCH, 0.0) is None  # its last connection is not found dead yet
    judge.close(7)
    assert judge.open(7, False, NOT_MUCH, 0.0) == SESSIONS
    judge.close(7)
    assert judge.open(7, False, NOT_MUCH, 0.0) is None


def test_when_too_much_waits_nobody_gets_in_and_a_quiet_one_may_go_on_for_longer() -> None:
    judge = Allowance(Limits())
    judge.open(7, False, NOT_MUCH, 0.0)
    bulk, line = MAX_BATCH_BYTES + 1, 100
    assert judge.bring(7, line, bulk, BULK_WAITING_BYTES - line, 0.0) is None
    assert judge.bring(7, line, bulk, BULK_WAITING_BYTES, 0.0) == FULL
    assert judge.bring(7, line, line, BULK_WAITING_BYTES, 0.0) is None
    assert judge.bring(7, line, line, WAITING_BYTES - line, 0.0) is None
    assert judge.bring(7, line, line, WAITING_BYTES - line + 1, 0.0) == FULL
    assert judge.connect(7, WAITING_BYTES, 0.0) == FULL
    assert judge.open(8, False, WAITING_BYTES, 0.0) == FULL


def test_without_limits_everything_is_let_in() -> None:
    judge = Allowance(Limits())
    for _ in range(100):
        assert judge.open(7, False, NOT_MUCH, 0.0) is None
        assert judge.bring(7, MAX_BATCH_BYTES, MAX_BATCH_BYTES, NOT_MUCH, 0.0) is None


def test_a_deployment_that_is_gone_is_forgotten_with_its_debt_paid_off() -> None:
    """Not before: else a new connection would begin with a full bucket."""
    judge = Allowance(Limits(max_rate_bytes_per_s=RATE))
    judge.open(7, False, NOT_MUCH, 0.0)
    judge.bring(7, RATE * 10, BATCH, NOT_MUCH, 0.0)
    judge.close(7)
    judge.forget_idle(1.0)
    assert judge.connect(7, NOT_MUCH, 1.0) is not None
    judge.open(8, False, NOT_MUCH, 1.0)
    judge.forget_idle(1_000.0)
    assert set(judge._accounts) == {8}


@pytest.mark.parametrize("refusal", [FULL, SESSIONS, RESTARTING])
def test_a_refusal_says_the_same_by_close_and_by_status(refusal: allowance.Refusal) -> None:
    """A close frame's reason has 123 bytes at most (RFC 6455, 5.5)."""
    assert retry_after_s(refusal.reason) == refusal.retry_after_s > 0
    assert len(refusal.reason.encode()) <= 123
    assert refusal.status in (429, 503)
