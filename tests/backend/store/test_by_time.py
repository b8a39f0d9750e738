"""Which sessions have something to tell of a time: as by looking at all of them, on every store."""

from __future__ import annotations

import random

import pytest

from ptyshipper.backend.digest import MAX_TIME_US
from ptyshipper.backend.session import MAX_INTEGER, Session
from ptyshipper.backend.store.base import Query, Store
from tests.support.server import exit_record, output
from tests.support.sessions import opened, put

BEGUN_US = 1_700_000_000_000_000
APP = Query(app_id=1, limit=1_000)


async def fill(store: Store, chance: random.Random) -> dict[int, tuple[int, int]]:
    """When each session of app 1 began and has come to, by its number."""
    extents = dict[int, tuple[int, int]]()
    for number in range(1, 40):
        app_id = 1 + (number % 7 == 0)
        begun_us = BEGUN_US + chance.choice([0, 10, chance.randrange(10**9)])
        session = await opened(store, number, app_id=app_id, started_at_us=begun_us)
        last_us = chance.choice([0, 1, chance.randrange(10**4), chance.randrange(10**9)])
        await put(store, session, output(b"x\n", time_us=last_us // 2))
        await put(store, session, output(b"x\n", time_us=last_us))
        if chance.random() < 0.5:
            await put(store, session, exit_record(time_us=last_us))
        if app_id == 1:
            extents[session.number] = (begun_us, begun_us + last_us)
    return extents


@pytest.mark.parametrize("seed", range(3))
async def test_sessions_at_a_time(store: Store, seed: int) -> None:
    """All that have come to it, and of the others only those that have not ended within twice as long."""
    chance = random.Random(seed)
    extents = await fill(store, chance)
    for _ in range(60):
        begun_us, last_us = chance.choice(list(extents.values()))
        at_us = chance.choice(
            [begun_us, last_us, last_us + 1, begun_us - 1, chance.randint(begun_us, last_us)]
        )
        found = {session.number: session for session in await store.sessions_at(APP, at_us)}
        for number, (first_us, end_us) in extents.items():
            if first_us <= at_us <= end_us:
                assert number in found
            elif number in found:
                assert not found[number].exited
                assert first_us <= at_us <= first_us + 2 * (end_us - first_us) + 1
        assert set(found) <= set(extents)


async def test_sessions_in_the_order_of_their_times(store: Store) -> None:
    """From any place on, a few at a time."""
    extents = await fill(store, random.Random(9))
    every = {session.number: session for session in await store.sessions(APP)}
    assert set(every) == set(extents)
    few = Query(app_id=1, limit=4)

    def begun(session: Session) -> tuple[int, int]:
        return session.description.started_at_us, session.number

    def until(session: Session) -> tuple[int, int]:
        return session.until_us, session.number

    place, seen = (-1, 0), list[int]()
    while found := await store.sessions_after(few, place):
        seen += [session.number for session in found]
        place = begun(found[-1])
    assert seen == [session.number for session in sorted(every.values(), key=begun)]
    place, seen = (MAX_INTEGER, MAX_INTEGER), []
    while found := await store.sessions_before(few, place):
        seen += [session.number for session in found]
        place = until(found[-1])
    assert seen == [session.number for session in sorted(every.values(), key=until, reverse=True)]
    for number, session in every.items():
        assert session.until_us > extents[number][1]
        if session.exited:
            assert session.until_us == extents[number][1] + 1


async def test_filters_hold_there_too(store: Store) -> None:
    await fill(store, random.Random(5))
    one = (await store.sessions(APP))[3]
    chosen = Query(app_id=1, ids=(one.id, bytes(16)))
    begun_us = one.description.started_at_us
    assert await store.sessions_at(chosen, begun_us) == [one]
    assert await store.sessions_after(chosen, (begun_us, one.number - 1)) == [one]
    assert await store.sessions_after(chosen, (begun_us, one.number)) == []
    assert await store.sessions_before(chosen, (one.until_us, one.number + 1)) == [one]
    assert await store.sessions_before(chosen, (one.until_us, one.number)) == []
    assert await store.sessions_at(Query(app_id=1, type="build"), begun_us) == []


async def test_times_of_a_hostile_shipper_are_bounded(store: Store) -> None:
    """As far as a column goes."""
    session = await opened(store, app_id=1)
    await put(store, session, output(b"x\n", time_us=MAX_TIME_US))
    (found,) = await store.sessions_at(APP, MAX_INTEGER - 1)
    assert found.until_us == MAX_INTEGER
    await put(store, session, output(b"x\n", time_us=1) + exit_record(time_us=MAX_TIME_US))
    (found,) = await store.sessions(APP)
    assert found.until_us == MAX_INTEGER
    assert await store.sessions_at(APP, -(2**70)) == []
    assert await store.sessions_after(APP, (2**70, 2**70)) == []
