"""Hears what a store tells of commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ptyshipper.backend.store.base import News, Store


class Ear:
    """What was heard, and how often something may have been missed."""

    def __init__(self) -> None:
        self.heard = list[News]()
        self.missed = 0
        self._told = asyncio.Event()

    def hear(self, news: News) -> None:
        self.heard.append(news)
        self._told.set()

    def miss(self) -> None:
        self.missed += 1
        self._told.set()

    async def until(self, heard: int, missed: int = 1) -> None:
        while len(self.heard) < heard or self.missed < missed:
            self._told.clear()
            await asyncio.wait_for(self._told.wait(), 20)


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Ear]:
    ear = Ear()
    task = asyncio.create_task(store.listen(ear.hear, ear.miss))
    await ear.until(0)
    yield ear
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
