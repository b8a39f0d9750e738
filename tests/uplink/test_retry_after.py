"""Both forms of the header, and what is neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.uplink.retry_after import MAX_RETRY_AFTER_S, retry_after_s

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0", 0.0), ("86400", MAX_RETRY_AFTER_S), ("9" * 5000, MAX_RETRY_AFTER_S),
     ("-1", 0.0), ("", 0.0), ("1.5", 0.0), ("\xb2", 0.0),
     ("Wed, 21 Oct 2015 07:28:17 GMT", 17.0), (DATE, 0.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
     ("Thu, 22 Oct 2015 07:28:00 GMT", MAX_RETRY_AFTER_S), ("Wed, 21 Okt 2015 07:28:17 GMT", 0.0),
     ("Wed, 21 Oct 2015 07:28:17 CET", 0.0)],
)  # fmt: skip
def test_retry_after_is_read_within_bounds(value: str, seconds: float) -> None:
    headers = {b"retry-after": value.encode("latin-1"), b"date": DATE.encode()}
    assert retry_after_s(headers) == seconds


def test_without_the_header_nothing_is_asked_for() -> None:
    assert retry_after_s({}) == 0.0


def test_a_date_is_worth_nothing_without_the_answer_s_own() -> None:
    """By whose clock else? Ours may be wrong by hours."""
    assert retry_after_s({b"retry-after": DATE.encode()}) == 0.0


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1)),
    st.integers(0, int(MAX_RETRY_AFTER_S)),
)
def test_a_date_counts_from_the_answer_s_own(now: datetime, seconds: int) -> None:
    now = now.replace(microsecond=0, tzinfo=UTC)
    then = now + timedelta(seconds=seconds)
    headers = {
        b"retry-after": format_datetime(then, usegmt=True),
        b"date": format_datetime(now, usegmt=True),
    }
    assert retry_after_s({name: value.encode() for name, value in headers.items()}) == seconds
