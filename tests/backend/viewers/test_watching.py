"""A viewer is shown something until it leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ptyshipper.backend.viewers.watching import close, show_until_left


@pytest.mark.parametrize(("event", "has_spoken"), [("disconnect", False), ("receive", True)])
def test_leaving_and_speaking_end_the_show(event: str, has_spoken: bool) -> None:
    """What was running is over when it returns."""
    ended = list[str]()

    async def scenario() -> bool:
        begun = asyncio.Event()

        async def show() -> None:
            try:
                begun.set()
                await asyncio.sleep(3600)
            finally:
                ended.append("ended")

        async def receive() -> Any:
            await begun.wait()
            return {"type": f"websocket.{event}"}

        return await show_until_left(show(), receive)

    assert asyncio.run(scenario()) is has_spoken
    assert ended == ["ended"]


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_closing_what_is_gone_is_no_error(error: type[Exception]) -> None:
    async def send(_: Any) -> None:
        raise error

    asyncio.run(close(send, 1000, ""))
