"""Wakes viewers after commits, and hands them what was committed while it is still in memory.

It never waits for a viewer: one that falls behind loses its queue, not its place, and reads on from
the store by its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeVar

from ptyshipper.backend.session import Chunk

QUEUE_BYTES = 1 << 20
"""How far a viewer may lag behind before it has to read from the store; the bytes are shared."""


class Subscription:
    """What was committed of one session since its viewer looked last."""

    __slots__ = ("_awake", "_bytes", "_chunks")

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        self._awake = asyncio.Event()

    def push(self, chunk: Chunk | None) -> None:
        if chunk is not None:
            if self._bytes + len(chunk.records) > QUEUE_BYTES:
                self._chunks.clear()
                self._bytes = 0
            self._chunks.append(chunk)
            self._bytes += len(chunk.records)
        self._awake.set()

    def take(self, offset: int) -> Chunk | None:
        """The chunk that begins exactly at ``offset``, if it is here; older ones are dropped."""
        while self._chunks and self._chunks[0].first_offset <= offset:
            chunk = self._chunks.popleft()
            self._bytes -= len(chunk.records)
            if chunk.first_offset == offset:
                return chunk
        return None

    async def wait(self, timeout_s: float) -> None:
        """Return when something was committed since the last ``wait`` returned, or in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._awake.wait()
        except TimeoutError:
            pass
        self._awake.clear()


class Fanout:
    """Who is watching which session, or all sessions of which app."""

    def __init__(self) -> None:
        self._of_session: dict[bytes, set[Subscription]] = {}
        self._of_app: dict[int, set[Subscription]] = {}
        self.is_stopping = False

    def stop(self) -> None:
        """Wake everybody for good: the backend ends, and who streams is to end, too."""
        self.is_stopping = True
        for watching in (*self._of_session.values(), *self._of_app.values()):
            for subscription in watching:
                subscription.push(None)

    def subscribe(self, session_id: bytes) -> Subscription:
        """Be woken, and handed the chunks, by every commit of this session's."""
        return _add(self._of_session, session_id)

    def subscribe_app(self, app_id: int) -> Subscription:
        """Be woken by every commit of a session of this app's; its chunks come from the store."""
        return _add(self._of_app, app_id)

    def unsubscribe(self, key: bytes | int, subscription: Subscription) -> None:
        """``key``: what was subscribed to."""
        if isinstance(key, bytes):
            _remove(self._of_session, key, subscription)
        else:
            _remove(self._of_app, key, subscription)

    def publish(self, session_id: bytes, app_id: int | None, chunk: Chunk | None) -> None:
        """A commit stored ``chunk``, or only a change of the session's state; or another backend's
        commit stored something."""
        for subscription in self._of_session.get(session_id, ()):
            subscription.push(chunk)
        if app_id is not None:
            for subscription in self._of_app.get(app_id, ()):
                subscription.push(None)


_Key = TypeVar("_Key", bytes, int)


def _add(watching: dict[_Key, set[Subscription]], key: _Key) -> Subscription:
    subscription = Subscription()
    watching.setdefault(key, set()).add(subscription)
    return subscription


def _remove(watching: dict[_Key, set[Subscription]], key: _Key, subscription: Subscription) -> None:
    left = watching.get(key, set())
    left.discard(subscription)
    if not left:
        watching.pop(key, None)
