"""Wakes viewers after commits, and hands them what was committed while it is still in memory.

It never waits for a viewer: one that falls behind loses its queue, not its place, and reads on from
the store by its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeVar

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.session import Chunk

QUEUE_BYTES = 1 << 20
"""How far a viewer may lag behind before it has to read from the store; the bytes are shared."""
ALL_QUEUES_BYTES = 64 << 20
"""How far all viewers together may; while it is used up, what comes is read from the store."""


class Subscription:
    """What was committed of one session since its viewer looked last."""

    __slots__ = ("_awake", "_bytes", "_chunks", "_fanout")

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        self._awake = asyncio.Event()

    def push(self, chunk: Chunk | None) -> None:
        if chunk is not None:
            size_bytes, fanout = len(chunk.records), self._fanout
            if self._chunks and (
                self._bytes + size_bytes > QUEUE_BYTES
                or fanout.queued_bytes + size_bytes > ALL_QUEUES_BYTES
            ):
                self.clear()
                fanout.counts.viewer_resyncs += 1
            if fanout.queued_bytes + size_bytes <= ALL_QUEUES_BYTES:
                self._chunks.append(chunk)
                self._hold(size_bytes)
        self._awake.set()

    def clear(self) -> None:
        """Forget what is here: it is in the store as well."""
        self._chunks.clear()
        self._hold(-self._bytes)

    def _hold(self, more_bytes: int) -> None:
        self._bytes += more_bytes
        self._fanout.queued_bytes += more_bytes

    def take(self, offset: int) -> Chunk | None:
        """The chunk that begins exactly at ``offset``, if it is here; older ones are dropped."""
        while self._chunks and self._chunks[0].first_offset <= offset:
            chunk = self._chunks.popleft()
            self._hold(-len(chunk.records))
            if chunk.first_offset == offset:
                return chunk
        return None

    async def wait(self, timeout_s: float) -> bool:
        """Return when something was committed since the last ``wait`` returned, or in time; which."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True


class Fanout:
    """Who is watching which session, or all sessions of which app.

    ``queued_bytes`` is how far all of them are behind; what several have in their queues counts for each.
    """

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts = counts or Counts()
        self.queued_bytes = 0
        self._of_session: dict[bytes, set[Subscription]] = {}
        self._of_app: dict[int, set[Subscription]] = {}
        self.is_stopping = False

    def stop(self) -> None:
        """Wake everybody for good: the backend ends, and who streams is to end, too."""
        self.is_stopping = True
        self.wake_all()

    def subscribe(self, session_id: bytes) -> Subscription:
        """Be woken, and handed the chunks, by every commit of this session's."""
        return _add(self._of_session, session_id, Subscription(self))

    def subscribe_app(self, app_id: int) -> Subscription:
        """Be woken by every commit of a session of this app's; its chunks come from the store."""
        return _add(self._of_app, app_id, Subscription(self))

    def unsubscribe(self, key: bytes | int, subscription: Subscription) -> None:
        """``key``: what was subscribed to."""
        if isinstance(key, bytes):
            _remove(self._of_session, key, subscription)
        else:
            _remove(self._of_app, key, subscription)

    def publish(self, session_id: bytes, app_id: int | None, chunk: Chunk | None = None) -> None:
        """A commit stored ``chunk``, or only a change of the session's state; or another backend's
        commit stored something."""
        for subscription in self._of_session.get(session_id, ()):
            subscription.push(chunk)
        if app_id is not None:
            for subscription in self._of_app.get(app_id, ()):
                subscription.push(None)

    def wake_all(self) -> None:
        """Other backends' commits may have gone unheard: everybody looks for themselves."""
        for subscriptions in (*self._of_session.values(), *self._of_app.values()):
            for subscription in subscriptions:
                subscription.push(None)


_Key = TypeVar("_Key", bytes, int)


def _add(
    watching: dict[_Key, set[Subscription]], key: _Key, subscription: Subscription
) -> Subscription:
    watching.setdefault(key, set()).add(subscription)
    return subscription


def _remove(watching: dict[_Key, set[Subscription]], key: _Key, subscription: Subscription) -> None:
    left = watching.get(key, set())
    left.discard(subscription)
    subscription.clear()
    if not left:
        watching.pop(key, None)
