"""A viewer is let in while there are seats, and shown something until it leaves or is locked out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.register import Register
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.tokens import Tokens
from ptyshipper.backend.viewers.seats import Seats
from ptyshipper.backend.viewers.watching import Gallery, close
from tests.support.token_store import TokenStore


class Door(Access):
    """An ``Access`` whose viewers a test locks out."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__(Tokens("ingest", "view"), Register(cast(Store, TokenStore())), refusals)
        self.lock_out: Callable[[], object] | None = None

    @contextmanager
    def watching(self, admitted: Any, close: Callable[[], object]) -> Iterator[None]:
        self.lock_out = close
        yield
        self.lock_out = None


class Viewer:
    """A viewer's WebSocket, and the gallery that it wants to get into."""

    def __init__(self, seats: int | None = None) -> None:
        refusals = Refusals(Counts())
        self.door = Door(refusals)
        self.seats = Seats(seats)
        self.gallery = Gallery(self.door, self.seats, refusals)
        self.sent: list[Any] = []
        self.said: asyncio.Queue[Any] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def enter(self, token: str = "view") -> View | None:
        """Whether it gets in; it leaves at once."""
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "subprotocols": ["a"],
        }
        await self.said.put({"type": "websocket.connect"})
        async with self.gallery.enter(scope, self.said.get, self.send, "a", "kind") as view:
            assert self.seats.taken["kind"] == (view is not None)
            return view

    async def show(self, ended: list[str], begun: asyncio.Event) -> bool:
        async def show() -> None:
            try:
                begun.set()
                await asyncio.sleep(3600)
            finally:
                ended.append("ended")

        return await self.gallery.show(View(None), show(), self.said.get, self.send, 4401)


@pytest.mark.parametrize(("event", "has_spoken"), [("disconnect", False), ("receive", True)])
def test_leaving_and_speaking_end_the_show(event: str, has_spoken: bool) -> None:
    """What was running is over when it returns."""
    ended = list[str]()

    async def scenario() -> bool:
        viewer, begun = Viewer(), asyncio.Event()
        showing = asyncio.create_task(viewer.show(ended, begun))
        await begun.wait()
        await viewer.said.put({"type": f"websocket.{event}"})
        return await showing

    assert asyncio.run(scenario()) is has_spoken
    assert ended == ["ended"]


def test_viewer_whose_token_is_revoked_is_locked_out() -> None:
    """The show ends, and the close code says why."""
    ended = list[str]()

    async def scenario() -> list[Any]:
        viewer, begun = Viewer(), asyncio.Event()
        showing = asyncio.create_task(viewer.show(ended, begun))
        await begun.wait()
        assert viewer.door.lock_out is not None
        viewer.door.lock_out()
        await viewer.said.put({"type": "websocket.disconnect"})
        assert await showing is False
        return viewer.sent

    (sent,) = asyncio.run(scenario())
    assert (sent["type"], sent["code"]) == ("websocket.close", 4401)
    assert ended == ["ended"]


@pytest.mark.parametrize(
    ("seats", "token", "status"), [(1, "view", None), (0, "view", 503), (1, "wrong", 403)]
)
def test_who_gets_in(seats: int, token: str, status: int | None) -> None:
    """Who may read, while there is a seat, which is free again afterwards."""

    async def scenario() -> Viewer:
        viewer = Viewer(seats)
        assert (await viewer.enter(token) is not None) is (status is None)
        return viewer

    viewer = asyncio.run(scenario())
    assert viewer.sent[0].get("status") == status
    assert viewer.seats.taken.total() == 0


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_closing_what_is_gone_is_no_error(error: type[Exception]) -> None:
    async def send(_: Any) -> None:
        raise error

    asyncio.run(close(send, 1000, ""))
