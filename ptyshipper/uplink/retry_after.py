"""When an answer asks to come again: its ``Retry-After``, in either form. Pure.

A date is taken as so long after the answer's own ``Date``: whose clock is right does not matter then.

Source: RFC 9110 sections 5.6.7 and 10.2.3. Of the three forms of a date only the one that may still be
sent is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ptyshipper.uplink.outcomes import MAX_RETRY_AFTER_S

_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def retry_after_s(headers: Mapping[bytes, bytes]) -> float:
    """In seconds, by headers with names in small letters; 0 where nothing is asked for."""
    value = headers.get(b"retry-after", b"").decode("latin-1")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_RETRY_AFTER_S)
    then, now = _seconds(value), _seconds(headers.get(b"date", b"").decode("latin-1"))
    if then is None or now is None:
        return 0.0
    return min(max(0.0, float(then - now)), MAX_RETRY_AFTER_S)


def _seconds(date: str) -> int | None:
    """Since some day long ago; None for what is no date."""
    found = _DATE.fullmatch(date)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[at]) for at in (1, 3, 4, 5, 6))
    # Counted from March, a leap day is a year's last.
    month = _MONTHS.index(found[2]) // 3 - 2
    year, month = (year - 1, month + 12) if month < 0 else (year, month)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day
    return ((days * 24 + hour) * 60 + minute) * 60 + second
