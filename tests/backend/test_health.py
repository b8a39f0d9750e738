"""Readiness: the store's answer within a second, asked for once however many want to know."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ptyshipper.backend import health
from ptyshipper.backend.health import Health
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError


class FakeStore:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def horizon(self) -> int:
        self.asked += 1
        answer = self.answers.pop(0)
        if answer == "hang":
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return int(answer)


def made(store: FakeStore) -> Health:
    return Health(cast(Store, store))


def test_a_hundred_who_ask_at_once_are_one_question() -> None:
    async def main() -> None:
        store = FakeStore(1)
        checked = made(store)
        found = await asyncio.gather(*(checked.hindrance() for _ in range(100)))
        assert found == [None] * 100
        assert store.asked == 1

    asyncio.run(main())


def test_a_store_that_fails_hangs_and_comes_back(monkeypatch: Any) -> None:
    monkeypatch.setattr(health, "GOOD_FOR_S", 0.0)
    monkeypatch.setattr(health, "READY_WITHIN_S", 0.01)

    async def main() -> None:
        checked = made(FakeStore(StoreError("gone"), "hang", 1))
        assert await checked.hindrance() == "the store can't be read"
        assert await checked.hindrance() == "the store does not answer"
        assert await checked.hindrance() is None

    asyncio.run(main())


def test_who_drains_is_not_ready_although_the_store_is() -> None:
    async def main() -> None:
        checked = made(FakeStore(1))
        checked.is_draining = True
        assert await checked.hindrance() == "draining"

    asyncio.run(main())


def test_one_who_does_not_wait_for_the_answer_takes_it_from_nobody() -> None:
    async def main() -> None:
        checked = made(FakeStore(1))
        hasty = asyncio.create_task(checked.hindrance())
        patient = asyncio.create_task(checked.hindrance())
        await asyncio.sleep(0)
        hasty.cancel()
        assert await patient is None

    asyncio.run(main())
