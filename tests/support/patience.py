"""How long a test waits for what must happen: one scalable unit for all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PATIENCE_S = 20.0 * float(os.environ.get("PTYSHIPPER_TEST_PATIENCE", "1"))
"""Only ever reached by a failing test; a slow machine scales it up."""


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until the condition holds.

    Raises:
        AssertionError: it did not within ``PATIENCE_S``.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain until {what}"
        time.sleep(0.005)
