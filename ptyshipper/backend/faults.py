"""Unexpected exceptions in one line: an operator's log is no place for tracebacks."""

from __future__ import annotations

import traceback


def where(error: BaseException) -> str:
    """What was raised, and the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
