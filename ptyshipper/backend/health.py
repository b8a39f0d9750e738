"""Whether this process should be sent more: the store answers, and nobody asked it to stop."""

from __future__ import annotations

import asyncio

from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError

READY_WITHIN_S = 1.0
GOOD_FOR_S = 1.0
"""Anybody may ask, as often as they like: the store is asked once in so long."""


class Health:
    """``is_draining``: it is about to stop, and takes nothing new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_draining = False
        self._look: asyncio.Task[str | None] | None = None
        self._looked_s = 0.0

    async def hindrance(self) -> str | None:
        """Why it should be sent nothing more, in a few words; None where it may. Takes a second at most."""
        now_s = asyncio.get_running_loop().time()
        if self._look is None or (self._look.done() and now_s - self._looked_s >= GOOD_FOR_S):
            self._look = asyncio.create_task(self._ask_store(), name="health")
        found = await asyncio.shield(self._look)
        return "draining" if self.is_draining else found

    async def _ask_store(self) -> str | None:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._store.horizon()
        except TimeoutError:
            return "the store does not answer"
        except StoreError:
            return "the store can't be read"
        finally:
            self._looked_s = asyncio.get_running_loop().time()
        return None
