"""What is particular to the Postgres store: several processes, a server that fails, and the way between."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ptyshipper.backend.store import connections
from ptyshipper.backend.store.base import DEAD_AFTER_US, Query, Store
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.errors import BackendError, StoreError
from tests.backend.store.conftest import Open
from tests.support.listening import listening
from tests.support.postgres import Postgres, ask
from tests.support.server import output
from tests.support.sessions import ALL, opened, opening, put, stored, write

NOW_US = 1_800_000_000_000_000


async def test_commits_are_heard_of_in_one_order(open_postgres: Open) -> None:
    """One's own as well; whole, however many sessions are in one."""
    here, there = await open_postgres(), await open_postgres()
    async with listening(here) as ear:
        named, horizons = list[list[tuple[bytes, int | None]]](), list[int]()
        for store, first in ((here, 1), (there, 1_001), (here, 2_001)):
            asked = [opening(first + n, app_id=n % 3 or None) for n in range(600)]
            sessions = [s for s in (await store.commit([], asked)).sessions if s is not None]
            await store.commit([write(session, output(b"x\n")) for session in sessions])
            named.append([(session.id, session.app_id) for session in sessions])
            horizons.append(sessions[-1].last_arrival)
        await ear.until(3)
        assert [list(news.sessions) for news in ear.heard] == named
        assert [news.horizon for news in ear.heard] == horizons
        assert [news.is_own for news in ear.heard] == [True, False, True]


async def test_listener_that_was_cut_off_says_that_it_missed_something(
    database: str, open_postgres: Open
) -> None:
    """And hears again by itself."""
    here, there = await open_postgres(), await open_postgres()
    session = await opened(there)
    async with listening(here) as ear:
        await ask(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
        )
        await ear.until(0, missed=2)
        await put(there, session, output(b"x"))
        await ear.until(1, missed=2)


# Two processes


async def test_retention_of_two_at_once_deletes_each_once(open_postgres: Open) -> None:
    """Beside commits, by age and by size: nobody waits in a circle, and the weights stay true."""
    here, there = await open_postgres(), await open_postgres()
    sessions = [await opened(here, number) for number in range(1, 9)]
    for _ in range(20):
        await here.commit([write(session, output(b"x" * 20_000)) for session in sessions])
    written = [await put(here, session, output(b"young\n")) for session in sessions]
    before_us, deleted = written[0].arrival, 0

    async def expire(store: Store, max_bytes: int | None) -> None:
        nonlocal deleted
        while found := await store.expire(before_us, max_bytes, 3):
            deleted += found

    async def go_on() -> None:
        for _ in range(50):
            await there.commit([write(session, output(b"during\n")) for session in sessions])

    await asyncio.gather(
        expire(here, None),
        expire(there, None),
        expire(here, 2_000_000),
        expire(there, None),
        go_on(),
    )
    assert deleted == 20 * len(sessions)
    weighed = 0
    for session in sessions:
        kept = await stored(there, session)
        assert kept == output(b"young\n") + 50 * output(b"during\n")
        found = await there.load(session.id)
        assert found is not None
        assert found.first_offset == written[0].first_offset
        weighed += len(kept)
    of_sessions = await here._read("SELECT sum(stored_bytes) FROM sessions")
    assert await here._read("SELECT stored_bytes FROM ledger") == of_sessions == [(weighed,)]


async def test_later_connection_wins_wherever_it_is(open_postgres: Open) -> None:
    """Two backends write one session in turns; only what the later connection brings is stored."""
    here, there = await open_postgres(), await open_postgres()
    first = await opened(here, now_us=1_000)
    await put(here, first, output(b"one"))
    second = await opened(there, now_us=2_000)
    assert (second.epoch, second.next_offset) == (2, first.next_offset)
    assert (await here.commit([write(first, output(b"lost"))])).refused == {0}
    await put(there, second, output(b"two"))
    third = await opened(here, now_us=3_000)
    assert (await there.commit([write(second, output(b"lost"))])).refused == {0}
    await put(here, third, output(b"three"))
    assert await stored(there, third) == output(b"one") + output(b"two") + output(b"three")


async def test_opening_that_comes_late_is_refused(open_postgres: Open) -> None:
    """It was under way at a backend whose shipper has gone elsewhere by now; a shipper that is told that
    another one has its session would give up."""
    here, there = await open_postgres(), await open_postgres()
    session = await opened(there, now_us=NOW_US)
    assert (await here.commit([], [opening(now_us=NOW_US - 30_000_000)])).sessions == [None]
    await put(there, session, output(b"x"))


async def test_clock_that_was_far_ahead_keeps_nobody_out(open_postgres: Open) -> None:
    here, there = await open_postgres(), await open_postgres()
    await opened(there, now_us=NOW_US)
    assert (await opened(here, now_us=NOW_US - 61_000_000)).epoch == 2


async def test_ids_rise_in_the_order_of_commits(open_postgres: Open) -> None:
    """Two backends commit at once: what is there up to the horizon is all that ever will be."""
    stores = [await open_postgres(), await open_postgres()]
    looks = list[tuple[int, list[int]]]()

    async def ids(horizon: int) -> list[int]:
        found = await stores[0].sessions(Query(limit=ALL))
        chunks = [c for s in found for c in await stores[0].chunks(s.number, 0, ALL)]
        return sorted(a for c in chunks for _, a in c.fragments() if a <= horizon)

    async def ship(store: Store, number: int) -> None:
        session = await opened(store, number)
        for _ in range(100):
            await put(store, session, output(b"a\nb\n"))

    async def look() -> None:
        while True:
            horizon = await stores[1].horizon()
            looks.append((horizon, await ids(horizon)))

    looking = asyncio.create_task(look())
    await asyncio.gather(*(ship(store, number) for number, store in enumerate(stores, 1)))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert len(looks) > 1
    everything = await ids(await stores[0].horizon())
    assert len(everything) == len(set(everything)) == 200
    for horizon, found in looks:
        assert found == [arrival for arrival in everything if arrival <= horizon]


async def test_sleeper_that_wakes_up_has_its_sessions_back(open_postgres: Open) -> None:
    """Others took it for dead; its next write of a session says that it is connected."""
    sleeper, other = await open_postgres(), await open_postgres()
    session = await opened(sleeper)
    await sleeper.note_alive(NOW_US)
    await other.note_alive(NOW_US + DEAD_AFTER_US + 1)
    found = await other.load(session.id)
    assert found is not None
    assert (found.connected, found.last_seen_us) == (False, NOW_US)
    await put(sleeper, session, output(b"x"))
    await sleeper.note_alive(NOW_US + DEAD_AFTER_US + 2)
    await other.note_alive(NOW_US + DEAD_AFTER_US + 3)
    assert await other.load(session.id) == session


# A server that fails


async def test_killed_server_is_found_again(postgres: Postgres, open_postgres: Open) -> None:
    """Each call fails in one line while it is away; what was stored is there."""
    store = await open_postgres()
    session = await opened(store)
    await put(store, session, output(b"before"))
    async with listening(store) as ear:
        postgres.kill()
        for call in (opened(store), store.load(session.id), store.note_alive(1), store.tokens()):
            with pytest.raises(StoreError) as failed:
                await call
            assert "\n" not in str(failed.value)
        postgres.start()
        await ear.until(0, missed=2)
    session = await opened(store)
    await put(store, session, output(b"after"))
    assert await stored(store, session) == output(b"before") + output(b"after")


async def test_frozen_server_loses_and_repeats_nothing(
    postgres: Postgres, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that was under way may have been stored or not: the next opening tells, and what it
    tells stays true."""
    monkeypatch.setattr(connections, "ANSWER_WITHIN_S", 1.0)
    monkeypatch.setattr(connections, "CONNECT_WITHIN_S", 1.0)
    store = await open_postgres()
    written, clock = b"", itertools.count(NOW_US, 1_000_000)

    async def ship(batch: bytes) -> None:
        """As shippers do: open, go on from where the store is, and come back when that failed."""
        nonlocal written
        end = len(written) + len(batch)
        while True:
            try:
                session = await opened(store, now_us=next(clock))
                if session.next_offset < end:
                    assert session.next_offset == len(written), "what was told once is so no more"
                    await put(store, session, batch)
                found = await stored(store, session)
                break
            except StoreError:
                pass  # a busy machine may need as long as the limit
        written += batch
        assert found == written

    for turn in range(4):
        await ship(output(b"before %d\n" % turn))
        session = await opened(store, now_us=next(clock))
        during = output(b"during %d\n" % turn)
        postgres.freeze()
        try:
            with pytest.raises(StoreError, match="does not answer"):
                await store.commit([write(session, during)], [opening(1, now_us=next(clock))])
            with pytest.raises(StoreError, match="does not answer"):
                await opened(store, 2, now_us=NOW_US)
        finally:
            postgres.thaw()
        await ship(during)


async def test_connection_that_was_given_up_commits_nothing(open_postgres: Open) -> None:
    """What it still brings comes too late: the process commits by another one by now."""
    store = await open_postgres()
    assert isinstance(store, PostgresStore)
    session = await opened(store)
    older = store.writer._idle.pop()
    await put(store, session, output(b"by the newer"))
    store.writer._idle.append(older)
    with pytest.raises(StoreError, match="taken over"):
        await store.commit([write(session, output(b"late"))])
    session = await opened(store)
    assert session.next_offset == len(output(b"by the newer"))


async def test_database_that_can_t_be_used_is_told_in_one_line(postgres: Postgres) -> None:
    """With where it is, and nothing of a password, also where that has a / in it that should have been
    written as %2F."""
    for url, told in (
        ("postgresql://me:s3cret@127.0.0.1:1/logs", "Postgres at 127.0.0.1:1: "),
        (postgres.url("nothing").replace("@", ":s3cret@"), "nothing"),
        ("postgresql://me:s3/cret@db.example/logs", "URL"),
        ("postgresql://me:s3cret@127.0.0.1/logs?sslmode=s3cret", "URL"),
    ):
        with pytest.raises(BackendError) as failed:
            await PostgresStore.open(url)
        line = str(failed.value)
        assert told in line
        assert "cret" not in line
        assert "\n" not in line
