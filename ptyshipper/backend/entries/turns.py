"""Readers take turns on the loop's thread, so that shippers never wait for them for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLICE_S = 0.003
"""What all readers together may do in one turn of the loop. Ingest is ready in every turn, so it waits at
most for so long, and for the entry, of 15 ms at worst, at which a reader stops."""


class Turns:
    """Readers' slices, as many in a turn of the loop as fit ``SLICE_S``; then the others' turn comes."""

    def __init__(self) -> None:
        self._until_s = 0.0
        self._is_new = True
        self._is_asked_for = False

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[float]:
        """Work until the time that this gives, of the loop's clock. Who needs less leaves the rest of it to
        the next reader: a thousand of them with a line each need no thousand turns."""
        loop = asyncio.get_running_loop()
        while not self._is_new and loop.time() >= self._until_s:
            if not self._is_asked_for:
                self._is_asked_for = True
                loop.call_soon(self._begin)
            await asyncio.sleep(0)
        if self._is_new:
            # From here on, not from when the turn began: the first reader in it always gets its slice.
            self._is_new, self._until_s = False, loop.time() + SLICE_S
        yield self._until_s

    def _begin(self) -> None:
        self._is_new, self._is_asked_for = True, False
