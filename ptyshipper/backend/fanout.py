"""Wakes viewers after commits, and hands them what was committed while it is still in memory.

It never waits for a viewer: one that falls behind loses its queue, not its place, and reads on from
the store by its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque

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
    """Who is watching which session."""

    def __init__(self) -> None:
        self._subscriptions: dict[bytes, set[Subscription]] = {}

    def subscribe(self, session_id: bytes) -> Subscription:
        subscription = Subscription()
        self._subscriptions.setdefault(session_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, session_id: bytes, subscription: Subscription) -> None:
        watching = self._subscriptions.get(session_id, set())
        watching.discard(subscription)
        if not watching:
            self._subscriptions.pop(session_id, None)

    def publish(self, session_id: bytes, chunk: Chunk | None) -> None:
        """A commit stored ``chunk``, or only a change of the session's state."""
        for subscription in self._subscriptions.get(session_id, ()):
            subscription.push(chunk)
