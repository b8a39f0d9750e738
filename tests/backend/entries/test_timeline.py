"""Several sessions as one log: every entry once, by time, from any place on, both ways."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ptyshipper.backend.entries import timeline as module
from ptyshipper.backend.entries.derive import EVENTS_ALONE, EVERYTHING, Wanted
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.entries.reading import Reader, Span
from ptyshipper.backend.entries.timeline import (
    END,
    START,
    Place,
    Stretch,
    Timeline,
    TooManySessions,
)
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Query, Store
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.records import Kind, encode, resized
from tests.support.postgres import Postgres
from tests.support.server import exit_record, output
from tests.support.sessions import opened, put

APP = 7
QUERY = Query(app_id=APP)
STARTED_US = 1_700_000_000_000_000

Key = tuple[int, int, int]


class Bench:
    """A store with sessions of an app, and who reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reader = Reader(store, Turns())
        self.timeline = Timeline(store, self.reader)

    async def open(self, number: int, begun_us: int, app_id: int = APP) -> Session:
        return await opened(
            self.store,
            number,
            app_id=app_id,
            hostname=f"web-{number}",
            started_at_us=STARTED_US + begun_us,
        )

    async def everything(self, wanted: Wanted = EVERYTHING) -> list[Key]:
        """Of every entry the key, in order, as each session by itself has it."""
        found = list[Key]()
        for session in await self.store.sessions(replace(QUERY, limit=1_000)):
            number = 0
            while True:
                page = await self.reader.page_from(session, Span(number), 1_000, wanted)
                for entry in page.entries:
                    at_us = session.description.started_at_us + entry.completed_us
                    found.append((at_us, session.number, entry.number or 0))
                number = page.end
                if page.is_last:
                    break
        return sorted(found)


@asynccontextmanager
async def bench_of(place: Path | str) -> AsyncIterator[Bench]:
    store = SqliteStore(place) if isinstance(place, Path) else await PostgresStore.open(place)
    yield Bench(store)
    await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store is."""
    if request.param == "sqlite":
        return tmp_path
    running: Postgres = request.getfixturevalue("postgres")
    return _database(request, running)


def _database(request: pytest.FixtureRequest, running: Postgres) -> str:
    made = running.database()
    url = made.__enter__()
    request.addfinalizer(lambda: made.__exit__(None, None, None))
    return url


def keys(stretch: Stretch) -> list[Key]:
    return [tuple(found.place) for found in stretch.entries]


async def forwards(
    bench: Bench, place: Place, limit: int, wanted: Wanted = EVERYTHING
) -> list[Key]:
    """All from a place on, page by page."""
    found = list[Key]()
    while True:
        page = await bench.timeline.forwards(QUERY, place, limit, wanted)
        assert len(page.entries) <= limit
        found += keys(page)
        if page.is_all:
            return found
        assert page.end > place
        place = page.end


async def backwards(
    bench: Bench, place: Place, limit: int, wanted: Wanted = EVERYTHING
) -> list[Key]:
    """All before a place, in order."""
    found = list[Key]()
    while True:
        page = await bench.timeline.backwards(QUERY, place, limit, wanted)
        assert len(page.entries) <= limit
        found = keys(page) + found
        if page.is_all:
            return found
        assert page.begin < place
        place = page.begin


async def fill(bench: Bench, chance: random.Random, rounds: int) -> None:
    """Sessions that overlap, follow each other or lie far apart, some of which end; batches of them by
    turns, delivered in any order of their times."""
    times = dict.fromkeys(range(1, 9), 0)
    sessions = {
        number: await bench.open(number, chance.choice([0, 5, 500, 10**6, 10**9]) + number % 2)
        for number in times
    }
    await put(bench.store, await bench.open(99, 3, app_id=8), output(b"a stranger's\n"))
    alive = set(times)
    for _ in range(rounds):
        if not alive:
            return
        number = chance.choice(sorted(alive))
        records = b""
        for _ in range(chance.randint(1, 6)):
            times[number] += chance.choice([0, 0, 1, 3, 400, 10**5])
            at_us = times[number]
            kind = chance.choice([Kind.STDOUT, Kind.STDERR, Kind.TTY])
            text = chance.choice([b"a\n", b"b", b"c\nneedle\ne", b"\n"])
            records += output(text, kind, time_us=at_us)
            if chance.random() < 0.1:
                records += encode(Kind.RESIZED, at_us, resized(80, 24))
        if chance.random() < 0.05:
            records += exit_record(time_us=times[number])
            alive.remove(number)
        await put(bench.store, sessions[number], records)


@pytest.mark.parametrize("seed", range(4))
def test_any_sessions_from_any_place(
    place: Path | str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by brute force, for pages of any size, filtered or not, also where hardly anything is kept."""
    chance = random.Random(seed)
    monkeypatch.setattr(module, "HELD_BYTES", chance.choice([0, 8, 1 << 20]))
    monkeypatch.setattr(module, "LISTED", chance.choice([1, 2, 20]))

    async def scenario() -> None:
        async with bench_of(place) as bench:
            await fill(bench, chance, 50)
            for wanted in (
                EVERYTHING,
                Wanted(stream="stderr"),
                Wanted(stream=EVENTS_ALONE),
                Wanted(needle=Needle("needle", is_case_sensitive=True)),
            ):
                expected = await bench.everything(wanted)
                assert expected
                for limit in (chance.choice([1, 2, 7]), 1_000):
                    assert await forwards(bench, START, limit, wanted) == expected
                    assert await backwards(bench, END, limit, wanted) == expected
                for key in chance.sample(expected, min(3, len(expected))):
                    where = Place(*key)
                    at = expected.index(key)
                    assert await forwards(bench, where, 40, wanted) == expected[at:]
                    assert await backwards(bench, where, 40, wanted) == expected[:at]
                    assert Place.read(str(where)) == where
                at_us = chance.choice(expected)[0]
                later = [key for key in expected if key[0] >= at_us]
                assert await forwards(bench, Place(at_us), 40, wanted) == later

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_pages_stay_as_they_were_while_sessions_go_on(place: Path | str, seed: int) -> None:
    """A reader who goes on forwards or backwards meanwhile misses nothing of what was there, and has
    nothing twice."""
    chance = random.Random(seed)

    async def scenario() -> None:
        async with bench_of(place) as bench:
            await fill(bench, chance, 60)
            sessions = {each.number: each for each in await bench.store.sessions(QUERY)}
            running = [each for each in sessions.values() if not each.exited]
            before = await bench.everything()
            seen = {True: list[Key](), False: list[Key]()}
            where = {True: END, False: START}
            left = {True, False}
            while left:
                for is_backwards in sorted(left):
                    read = bench.timeline.backwards if is_backwards else bench.timeline.forwards
                    page = await read(QUERY, where[is_backwards], 11)
                    seen[is_backwards] += keys(page)
                    where[is_backwards] = page.begin if is_backwards else page.end
                    if page.is_all:
                        left.discard(is_backwards)
                session = chance.choice(running)
                if len(seen[False]) < 3 * len(before):
                    await put(bench.store, session, output(b"later\n" * 3, time_us=10**10))
            for is_backwards, found in seen.items():
                assert len(found) == len(set(found))
                assert found == sorted(found, reverse=is_backwards) or is_backwards
                assert set(before) <= set(found)

    asyncio.run(scenario())


def test_what_follows_a_page_begins_where_it_ends(tmp_path: Path) -> None:
    """Nothing that is behind the page's horizon is on it, wherever its time is."""

    async def scenario() -> None:
        async with bench_of(tmp_path) as bench:
            one, two = await bench.open(1, 0), await bench.open(2, 0)
            await put(bench.store, one, output(b"a\n", time_us=50))
            horizon = bench.store.horizon

            async def early() -> int:
                found = await horizon()
                await put(bench.store, one, output(b"b\n", time_us=60))
                await put(bench.store, two, output(b"c\n", time_us=10))
                return found

            for read, begin in (
                (bench.timeline.forwards, START),
                (bench.timeline.backwards, END),
            ):
                bench.store.horizon = early  # type: ignore[method-assign]
                page = await read(QUERY, begin, 10)
                bench.store.horizon = horizon  # type: ignore[method-assign]
                later = [e for e in (await read(QUERY, begin, 10)).entries if e.entry.id]
                assert all((e.entry.id or 0) <= page.horizon for e in page.entries)
                missing = {e.place for e in later} - {e.place for e in page.entries}
                assert missing == {e.place for e in later if (e.entry.id or 0) > page.horizon}
                assert len(missing) == 2

    asyncio.run(scenario())


def test_sessions_of_other_times_are_not_opened(tmp_path: Path) -> None:
    """Of 200 that follow each other a page takes those it tells of, from either end and in the middle."""

    async def scenario() -> None:
        async with bench_of(tmp_path) as bench:
            for number in range(1, 201):
                session = await bench.open(number, number * 1_000_000)
                await put(
                    bench.store,
                    session,
                    output(b"x\n" * 5, time_us=10) + exit_record(time_us=900_000),
                )
            for begin in (START, Place(STARTED_US + 100_000_000), END):
                for is_backwards in (False, True):
                    walk = await bench.timeline.walk(QUERY, begin, is_backwards=is_backwards)
                    found = 0
                    entries = walk.entries(12)
                    async for each in entries:
                        found += each is not None
                        if found == 12:
                            break
                    await entries.aclose()
                    assert len(walk.opened) <= 4
                    assert found == (0 if begin == (START if is_backwards else END) else 12)

    asyncio.run(scenario())


def test_too_many_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AT_ONCE", 5)

    async def scenario() -> None:
        async with bench_of(tmp_path) as bench:
            for number in range(1, 8):
                session = await bench.open(number, 0)
                await put(bench.store, session, output(b"x\n", time_us=100))
                await put(bench.store, session, output(b"y\n", time_us=200))
            with pytest.raises(TooManySessions):
                await bench.timeline.forwards(QUERY, Place(STARTED_US + 150), 10)
            with pytest.raises(TooManySessions):
                await bench.timeline.backwards(QUERY, Place(STARTED_US + 150), 10)
            chosen = replace(QUERY, ids=((3).to_bytes(16, "big"), (4).to_bytes(16, "big")))
            page = await bench.timeline.forwards(chosen, Place(STARTED_US + 150), 10)
            assert [each.entry.text for each in page.entries] == ["y", "y"]

    asyncio.run(scenario())


def test_clock_that_goes_back_hurts_no_other(tmp_path: Path) -> None:
    """A hostile session keeps its own order; the other's entries are there, once."""

    async def scenario() -> None:
        async with bench_of(tmp_path) as bench:
            good, bad = await bench.open(1, 0), await bench.open(2, 0)
            for at_us in (900, 5, 700, 1, 2**62, 3):
                await put(bench.store, bad, output(b"bad\n", time_us=at_us))
            for at_us in range(0, 1_000, 10):
                await put(bench.store, good, output(b"good\n", time_us=at_us))
            expected = [k for k in await bench.everything() if k[1] == good.number]
            assert len(expected) == 100
            for limit in (3, 50):
                for found in (
                    await forwards(bench, START, limit),
                    await backwards(bench, END, limit),
                ):
                    assert [key for key in found if key[1] == good.number] == expected

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2.3.4", "x.1.1", "-1.1.1", "1.1." + "f" * 17, "1.1.1\n"]
)
def test_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        Place.read(text)
