"""Readers take turns on the loop's thread, so that shippers never wait for them for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLICE_S = 0.003
"""What a reader may do in one turn of the loop. Ingest is ready in every turn, so it waits at most for so
long, and for the entry, of 15 ms at worst, at which a reader stops."""


class Turns:
    """One slice of one reader's work in a turn of the loop, however many readers want one."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[float]:
        """Work until the time that this gives, of the loop's clock; everybody else's turn comes then."""
        async with self._lock:
            yield asyncio.get_running_loop().time() + SLICE_S
            await asyncio.sleep(0)
