"""An unexpected exception in one line."""

from __future__ import annotations

from ptyshipper.backend.faults import where


def test_tells_what_and_where() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        told = where(error)
    assert told.startswith("ValueError: broken at test_faults.py:")
    assert "\n" not in told
