"""One backend and one Postgres for the tests that leave them running; nothing of a test's left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backend.conftest import postgres, server
from tests.support.patience import until

__all__ = ["postgres", "server"]

_WRAPPERS = (b"main_log_shipper", b"ptyshipper\0run", b"ptyshipper\0repro", b"ld-bundled.so")


def wrappers() -> set[int]:
    """Every wrapper and monitor that runs on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if any(name in command for name in _WRAPPERS):
            found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A wrapper or a monitor that outlives its test is a leak, whatever else the test found."""
    before = wrappers()
    yield
    until(
        lambda: not wrappers() - before - {os.getpid()}, "the test's wrappers and monitors are gone"
    )
