"""Wakes viewers after commits, and hands them what was committed while it is still in memory.

It never waits for a viewer: one that falls behind loses its queue, not its place, and reads on from
the store by its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple, TypeVar

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.session import Chunk
from ptyshipper.backend.store.base import News

QUEUE_BYTES = 1 << 20
"""How far a viewer may lag behind before it has to read from the store; the bytes are shared."""
ALL_QUEUES_BYTES = 64 << 20
"""How far all viewers together may; while it is used up, what comes is read from the store."""
MAX_CHANGED = 1_000
"""So many sessions a reader of an app is told of by name; of more, that it is to look at all."""


class _Bell:
    """Wakes who waits."""

    __slots__ = ("_awake",)

    def __init__(self) -> None:
        self._awake = asyncio.Event()

    def ring(self) -> None:
        self._awake.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return when something was committed since the last ``wait`` returned, or in time; which."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True


class Subscription(_Bell):
    """What was committed of one session since its viewer looked last."""

    __slots__ = ("_bytes", "_chunks", "_fanout")

    def __init__(self, fanout: Fanout) -> None:
        super().__init__()
        self._fanout = fanout
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0

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
        self.ring()

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


class Changed(NamedTuple):
    """Of which sessions there is something new up to the id ``horizon``, and of no others."""

    session_ids: frozenset[bytes]
    horizon: int


class AppSubscription(_Bell):
    """Which sessions, of an app or of all, changed since their reader looked last."""

    __slots__ = ("_fanout", "_is_lost", "_session_ids")

    def __init__(self, fanout: Fanout) -> None:
        super().__init__()
        self._fanout = fanout
        self._session_ids = set[bytes]()
        self._is_lost = True  # what was before it began, it does not know

    def add(self, session_id: bytes) -> None:
        self._session_ids.add(session_id)
        if len(self._session_ids) > MAX_CHANGED:
            self.lose()
        self.ring()

    def lose(self) -> None:
        """The reader is to look at all sessions."""
        self._session_ids.clear()
        self._is_lost = True
        self.ring()

    def take(self) -> Changed | None:
        """What changed since the last ``take``; None: any session may have."""
        if self._is_lost:
            self._session_ids.clear()
            self._is_lost = False
            return None
        changed = Changed(frozenset(self._session_ids), self._fanout.horizon)
        self._session_ids.clear()
        return changed


class Fanout:
    """Who is watching which session, or all sessions of which app.

    ``queued_bytes`` is how far all of them are behind; what several have in their queues counts for each.
    ``horizon`` is that of the last commit that was heard of.
    """

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts = counts or Counts()
        self.queued_bytes = 0
        self.horizon = 0
        self._of_session: dict[bytes, set[Subscription]] = {}
        self._of_app: dict[int, set[AppSubscription]] = {}
        self._of_all = set[AppSubscription]()
        self.is_stopping = False

    def stop(self) -> None:
        """Wake everybody for good: the backend ends, and who streams is to end, too."""
        self.is_stopping = True
        self.wake_all()

    def subscribe(self, session_id: bytes) -> Subscription:
        """Be woken, and handed the chunks, by every commit of this session's."""
        return _add(self._of_session, session_id, Subscription(self))

    def subscribe_app(self, app_id: int) -> AppSubscription:
        """Be told by every commit of which of this app's sessions it was; what, is in the store."""
        return _add(self._of_app, app_id, AppSubscription(self))

    def subscribe_all(self) -> AppSubscription:
        """Be told of the sessions of all apps, also where only their state has changed."""
        subscription = AppSubscription(self)
        self._of_all.add(subscription)
        return subscription

    def unsubscribe_all(self, subscription: AppSubscription) -> None:
        self._of_all.discard(subscription)

    def unsubscribe(self, session_id: bytes, subscription: Subscription) -> None:
        subscription.clear()
        _remove(self._of_session, session_id, subscription)

    def unsubscribe_app(self, app_id: int, subscription: AppSubscription) -> None:
        _remove(self._of_app, app_id, subscription)

    def publish(self, session_id: bytes, chunk: Chunk | None = None) -> None:
        """A commit of this process stored ``chunk``, or only a change of the session's state."""
        for subscription in self._of_session.get(session_id, ()):
            subscription.push(chunk)
        for reader in self._of_all:
            reader.add(session_id)

    def hear(self, news: News) -> None:
        """The store tells of a commit. Of this process's own ``publish`` has told the session's viewers;
        an app's readers must hear of all in one order, or they would pass one by."""
        self.horizon = news.horizon
        for session_id, app_id in news.sessions:
            if not news.is_own:
                self.publish(session_id)
            if app_id is not None:
                for subscription in self._of_app.get(app_id, ()):
                    subscription.add(session_id)

    def wake_all(self) -> None:
        """Commits may have gone unheard: everybody looks for themselves."""
        for subscriptions in self._of_session.values():
            for subscription in subscriptions:
                subscription.ring()
        for readers in self._of_app.values():
            for reader in readers:
                reader.lose()
        for reader in self._of_all:
            reader.lose()


_Key = TypeVar("_Key", bytes, int)
_Each = TypeVar("_Each", bound=_Bell)


def _add(watching: dict[_Key, set[_Each]], key: _Key, subscription: _Each) -> _Each:
    watching.setdefault(key, set()).add(subscription)
    return subscription


def _remove(watching: dict[_Key, set[_Each]], key: _Key, subscription: _Each) -> None:
    left = watching.get(key, set())
    left.discard(subscription)
    if not left:
        watching.pop(key, None)
