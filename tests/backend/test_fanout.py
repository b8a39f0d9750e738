"""Fan-out: a viewer gets what begins at its cursor, and is never waited for."""

from __future__ import annotations

import asyncio

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.fanout import (
    ALL_QUEUES_BYTES,
    MAX_CHANGED,
    QUEUE_BYTES,
    Changed,
    Fanout,
)
from ptyshipper.backend.session import Chunk
from ptyshipper.backend.store.base import News

SESSION, OTHER = bytes(16), bytes(15) + b"\x01"
APP = 7


def chunk(first: int, size: int) -> Chunk:
    return Chunk(first, first + size, 0, 0, 0, 0, NO_LINES, bytes(size))


def test_chunk_is_taken_at_its_offset_only() -> None:
    """Older ones are dropped, later ones stay until the viewer is there."""
    fanout = Fanout()
    viewer = fanout.subscribe(SESSION)
    for first in (0, 10, 20):
        fanout.publish(SESSION, chunk(first, 10))
    assert viewer.take(5) is None  # history holds 5 to 10: only the store can give it
    assert viewer.take(10) == chunk(10, 10)
    assert viewer.take(30) is None
    assert viewer.take(20) is None


def test_other_sessions_do_not_reach_a_viewer() -> None:
    fanout = Fanout()
    viewer = fanout.subscribe(SESSION)
    fanout.publish(OTHER, chunk(0, 10))
    assert viewer.take(0) is None


def test_slow_viewer_loses_its_queue_and_nothing_else() -> None:
    """What it holds is bounded; it goes on from the store and joins again."""
    fanout = Fanout()
    slow, quick = fanout.subscribe(SESSION), fanout.subscribe(SESSION)
    size = QUEUE_BYTES // 4
    for index in range(6):
        fanout.publish(SESSION, chunk(index * size, size))
        assert quick.take(index * size) is not None
    assert slow.take(0) is None
    assert slow.take(4 * size) == chunk(4 * size, size)


def test_app_is_told_which_of_its_sessions_changed() -> None:
    """And of no other's; first of all that any may have, before it began to listen."""

    async def scenario() -> list[bool]:
        fanout = Fanout()
        watching, other = fanout.subscribe_app(APP), fanout.subscribe_app(APP + 1)
        assert watching.take() is None
        fanout.hear(News([(SESSION, APP), (OTHER, APP)], 40, is_own=True))
        fanout.hear(News([(bytes(16), None)], 41, is_own=False))
        assert watching.take() == Changed(frozenset((SESSION, OTHER)), 41)
        assert watching.take() == Changed(frozenset(), 41)
        woken = [await viewer.wait(0.01) for viewer in (watching, watching, other)]
        fanout.unsubscribe_app(APP, watching)
        fanout.hear(News([(SESSION, APP)], 42, is_own=False))
        return [*woken, await watching.wait(0.01)]

    assert asyncio.run(scenario()) == [True, False, False, False]


def test_app_of_which_too_much_changes_is_told_to_look_at_all() -> None:
    fanout = Fanout()
    watching = fanout.subscribe_app(APP)
    watching.take()
    names = [(number.to_bytes(16), APP) for number in range(MAX_CHANGED)]
    fanout.hear(News(names, 1, is_own=False))
    fanout.hear(News(names, 2, is_own=False))
    assert watching.take() == Changed(frozenset(name for name, _ in names), 2)
    fanout.hear(News([*names, (MAX_CHANGED.to_bytes(16), APP)], 3, is_own=False))
    assert watching.take() is None
    fanout.wake_all()
    assert watching.take() is None
    assert watching.take() == Changed(frozenset(), 3)


def test_viewer_is_woken_by_others_commits_and_not_twice_by_its_own() -> None:
    """Of those it was handed the chunk already."""

    async def scenario() -> list[bool]:
        fanout = Fanout()
        viewer, woken = fanout.subscribe(SESSION), list[bool]()
        for is_own in (True, False):
            fanout.hear(News([(SESSION, APP)], 1, is_own))
            woken.append(await viewer.wait(0.01))
        return woken

    assert asyncio.run(scenario()) == [False, True]


def test_everybody_is_woken_where_commits_may_have_gone_unheard() -> None:
    """And keeps what is queued: it is as good as before."""

    async def scenario() -> list[bool]:
        fanout = Fanout()
        viewers = [fanout.subscribe(SESSION), fanout.subscribe(OTHER), fanout.subscribe_app(APP)]
        fanout.publish(SESSION, chunk(0, 10))
        await viewers[0].wait(5)
        fanout.wake_all()
        woken = [await viewer.wait(5) for viewer in viewers]
        assert viewers[0].take(0) == chunk(0, 10)
        return woken

    assert asyncio.run(scenario()) == [True, True, True]


def test_unsubscribed_viewer_gets_nothing() -> None:
    """Also a second time, and of a session that nobody watches."""
    fanout = Fanout()
    viewer = fanout.subscribe(SESSION)
    fanout.unsubscribe(SESSION, viewer)
    fanout.unsubscribe(SESSION, viewer)
    fanout.publish(SESSION, chunk(0, 10))
    assert viewer.take(0) is None


def test_commit_between_look_and_wait_is_not_missed() -> None:
    """wait returns at once for what was published before it, and only once for it."""

    async def scenario() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        fanout = Fanout()
        viewer = fanout.subscribe(SESSION)
        fanout.publish(SESSION)
        began_s = loop.time()
        await viewer.wait(5)
        woken_s = loop.time()
        await viewer.wait(0.05)
        return woken_s - began_s, loop.time() - woken_s

    woken_after_s, timed_out_after_s = asyncio.run(scenario())
    assert woken_after_s < 1
    assert timed_out_after_s >= 0.04


def test_all_viewers_together_hold_no_more_than_their_share() -> None:
    """However many sessions are watched: who finds it used up has nothing, and reads from the store."""
    counts = Counts()
    fanout = Fanout(counts)
    ids = [number.to_bytes(16) for number in range(2 * ALL_QUEUES_BYTES // QUEUE_BYTES)]
    slow = [fanout.subscribe(session_id) for session_id in ids]
    for session_id in ids:
        fanout.publish(session_id, chunk(0, QUEUE_BYTES))
    assert fanout.queued_bytes == ALL_QUEUES_BYTES
    assert slow[0].take(0) is not None
    assert slow[-1].take(0) is None
    fanout.publish(ids[-1], chunk(QUEUE_BYTES, QUEUE_BYTES))
    assert slow[-1].take(QUEUE_BYTES) is not None, "there is room again"
    assert counts.viewer_resyncs == 0, "nobody lost what it had"
    for session_id, viewer in zip(ids, slow, strict=True):
        fanout.unsubscribe(session_id, viewer)
    assert fanout.queued_bytes == 0


def test_a_resync_is_counted() -> None:
    counts = Counts()
    fanout = Fanout(counts)
    viewer = fanout.subscribe(SESSION)
    fanout.publish(SESSION, chunk(0, QUEUE_BYTES))
    fanout.publish(SESSION, chunk(QUEUE_BYTES, 10))
    assert counts.viewer_resyncs == 1
    assert viewer.take(QUEUE_BYTES) == chunk(QUEUE_BYTES, 10)
    assert fanout.queued_bytes == 0
