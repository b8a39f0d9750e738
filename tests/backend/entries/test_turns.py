"""Readers take turns, and everybody else's comes between any two."""

from __future__ import annotations

import asyncio

from ptyshipper.backend.entries.turns import Turns


def test_one_slice_in_a_turn_of_the_loop() -> None:
    """Three readers, each with three slices; a shipper runs before every one of them."""

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
