"""Viewers are let in while there are seats, and are shown something until they leave or are put out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import pytest

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.seats import Seats
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.backend.viewers.watching import (
    LOCKED_OUT,
    Codes,
    Gallery,
    SessionEndpoint,
    Unshowable,
    close,
)
from ptyshipper.errors import StoreError
from tests.support.sessions import opened

SUBPROTOCOL = "v1.test"
PATH = "/api/sessions/" + (1).to_bytes(16, "big").hex() + "/shown"
SCOPE = {"type": "websocket", "headers": [], "subprotocols": [SUBPROTOCOL], "client": ("::1", 1)}


class FakeAccess:
    """Lets in whoever it was told to; ``lock_out`` is what a sweep would call."""

    seat = Access.seat

    def __init__(self, answer: View | HTTPStatus) -> None:
        self._answer = answer
        self._seats, self._refusals = Seats(), Refusals(Counts())
        self.lock_out: Callable[[], None] | None = None

    async def reader(self, _: Any) -> View | HTTPStatus:
        return self._answer

    @contextmanager
    def watching(self, _: View, lock_out: Callable[[], None]) -> Iterator[None]:
        self.lock_out = lock_out
        yield
        self.lock_out = None


class Peer:
    """A viewer's end: what it was sent, and what it does next."""

    def __init__(self) -> None:
        self.sent = list[dict[str, Any]]()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.events.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def receive(self) -> Any:
        return await self.events.get()


def gallery(access: FakeAccess, seats: int = 9) -> tuple[Gallery, Counts]:
    counts = Counts()
    access._seats, access._refusals = Seats(seats), Refusals(counts)
    return Gallery(cast(Access, access)), counts


async def enter(gallery: Gallery, peer: Peer) -> View | None:
    async with gallery.enter(SCOPE, peer.receive, peer.send, SUBPROTOCOL, "records") as view:
        return view


def test_who_may_read_is_let_in_and_others_are_told_why_not() -> None:
    peers = [Peer(), Peer()]
    assert asyncio.run(enter(gallery(FakeAccess(View(7)))[0], peers[0])) == View(7)
    assert peers[0].sent == [{"type": "websocket.accept", "subprotocol": SUBPROTOCOL}]
    assert asyncio.run(enter(gallery(FakeAccess(HTTPStatus.FORBIDDEN))[0], peers[1])) is None
    assert peers[1].sent[0]["status"] == 403


def test_without_a_seat_one_is_asked_to_come_again() -> None:
    """A seat is free again once its viewer has left."""

    async def scenario() -> None:
        room, counts = gallery(FakeAccess(View(None)), seats=1)
        first, second = Peer(), Peer()
        async with room.enter(SCOPE, first.receive, first.send, SUBPROTOCOL, "records") as view:
            assert view is not None
            assert await enter(room, second) is None
        assert second.sent[0]["status"] == 503
        assert dict(second.sent[0]["headers"])[b"retry-after"] == b"5"
        assert counts.refusals == {("viewer", "seats"): 1}
        assert await enter(room, Peer()) is not None

    asyncio.run(scenario())


class Show:
    """Goes on for ever; ``log`` tells that it was ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.has_ended = False

    async def run(self) -> None:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.has_ended = True


@pytest.mark.parametrize(("event", "has_spoken"), [("disconnect", False), ("receive", True)])
def test_leaving_and_speaking_end_the_show(event: str, has_spoken: bool) -> None:
    """What was running is over when it returns."""

    async def scenario() -> None:
        room, peer, show = gallery(FakeAccess(View(None)))[0], Peer(), Show()
        await peer.events.get()
        shown = asyncio.create_task(
            room.show(View(None), show.run(), peer.receive, peer.send, 4401)
        )
        await show.begun.wait()
        peer.events.put_nowait({"type": f"websocket.{event}"})
        assert await shown is has_spoken
        assert show.has_ended
        assert peer.sent == []

    asyncio.run(scenario())


def test_who_is_locked_out_is_told_and_shown_nothing_more() -> None:
    async def scenario() -> None:
        access = FakeAccess(View(None))
        room, peer, show = gallery(access)[0], Peer(), Show()
        await peer.events.get()
        shown = asyncio.create_task(
            room.show(View(None), show.run(), peer.receive, peer.send, 4401)
        )
        await show.begun.wait()
        assert access.lock_out is not None
        access.lock_out()
        while not peer.sent:
            await asyncio.sleep(0)
        assert show.has_ended
        peer.events.put_nowait({"type": "websocket.disconnect"})
        assert await shown is False
        assert peer.sent == [{"type": "websocket.close", "code": 4401, "reason": LOCKED_OUT}]

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_closing_what_is_gone_is_no_error(error: type[Exception]) -> None:
    async def send(_: Any) -> None:
        raise error

    asyncio.run(close(send, 1000, ""))


class Showing(SessionEndpoint):
    """Shows nothing, and ends as it was told to."""

    word = "shown"
    kind = "records"
    subprotocol = SUBPROTOCOL
    codes = Codes(1000, 4001, 4002, 4003, 4004, 4005)
    error: Exception | None = None

    async def show(self, *_: Any) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("path", "view", "failing", "error", "code"),
    [
        (PATH, View(None), False, None, 1000),
        (PATH, View(7), False, None, 1000),
        (PATH, View(8), False, None, 4003),
        ("/api/sessions/nonsense/shown", View(None), False, None, 4003),
        (PATH.replace("01/", "02/"), View(None), False, None, 4003),
        (PATH, View(None), False, Unshowable(4009, "no"), 4009),
        (PATH, View(None), False, StoreError("away"), 4004),
        (PATH, View(None), True, None, 4004),
        (PATH, View(None), False, ValueError("a flaw"), 4005),
    ],
)
def test_what_became_of_showing_is_told_by_the_code(
    tmp_path: Path, path: str, view: View, failing: bool, error: Exception | None, code: int
) -> None:
    """Of another app's session no more than that there is none."""

    async def scenario() -> None:
        store, fanout, peer = SqliteStore(tmp_path), Fanout(), Peer()
        await opened(store, 1, app_id=7)
        endpoint = Showing(store, fanout, gallery(FakeAccess(view))[0], Turns())
        endpoint.error = error
        assert Showing.matches(path)
        if failing:
            await store.close()
        ended = asyncio.create_task(endpoint({**SCOPE, "path": path}, peer.receive, peer.send))
        while len(peer.sent) < 2:
            await asyncio.sleep(0)
        peer.events.put_nowait({"type": "websocket.disconnect"})
        await ended
        assert peer.sent[1]["code"] == code
        assert fanout._of_session == {}, "nobody is subscribed any more"
        await store.close()

    asyncio.run(scenario())
