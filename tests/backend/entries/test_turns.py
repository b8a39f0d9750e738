"""Readers take turns, and everybody else's comes between any two."""

from __future__ import annotations

import asyncio

import pytest

from ptyshipper.backend.entries import turns as turns_module
from ptyshipper.backend.entries.turns import Turns


def test_one_slice_in_a_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """When each takes all of it: three readers, a shipper runs before every slice of theirs."""
    monkeypatch.setattr(turns_module, "SLICE_S", 0.0)

    async def scenario() -> list[str]:
        turns, seen = Turns(), list[str]()

        async def read(name: str) -> None:
            for _ in range(3):
                async with turns.slice():
                    seen.append(name)

        async def ship() -> None:
            while len(seen) - seen.count("-") < 9:
                seen.append("-")
                await asyncio.sleep(0)

        await asyncio.gather(ship(), *(read(name) for name in "abc"))
        return seen

    seen = asyncio.run(scenario())
    readers = "".join(seen).split("-")
    assert all(len(each) <= 1 for each in readers)
    assert sorted("".join(readers)) == list("aaabbbccc")


def test_short_slices_share_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred readers who hardly do anything do not wait for a hundred turns each."""
    monkeypatch.setattr(turns_module, "SLICE_S", 60.0)

    async def scenario() -> int:
        turns, others = Turns(), 0

        async def ship() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        async def read() -> None:
            for _ in range(100):
                async with turns.slice():
                    pass

        shipping = asyncio.create_task(ship())
        await asyncio.gather(*(read() for _ in range(100)))
        shipping.cancel()
        return others

    assert asyncio.run(scenario()) < 300


def test_reader_that_leaves_in_its_slice_holds_up_nobody() -> None:
    async def scenario() -> None:
        turns = Turns()

        async def leave() -> None:
            async with turns.slice():
                raise LookupError

        for _ in range(2):
            try:
                await leave()
            except LookupError:
                pass
        async with turns.slice() as until_s:
            assert until_s > asyncio.get_running_loop().time() - 60

    asyncio.run(asyncio.wait_for(scenario(), 10))
