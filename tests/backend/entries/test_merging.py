"""Several sessions as one stream: every line once, ids strictly rising, whenever a reader looks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from ptyshipper import records
from ptyshipper.backend.entries import merging
from ptyshipper.backend.entries.merging import Merge, Told, newest, told
from ptyshipper.backend.entries.reading import Reader
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Changed, Fanout
from ptyshipper.backend.session import Session, read_description
from ptyshipper.backend.store.base import Opening, Query
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.records import GapCause, Kind, encode
from tests.support.server import describe, exit_record, output, start_record
from tests.support.sessions import write

APP = 7
QUERY = Query(app_id=APP)


class Bench:
    """A store with sessions of an app, and who reads it."""

    def __init__(self, data_dir: Path) -> None:
        self.store = SqliteStore(data_dir)
        self.reader = Reader(self.store, Turns())

    async def open(self, number: int, app_id: int | None = APP) -> Session:
        about = read_description(describe(hostname=f"web-{number}"))
        opening = Opening(number.to_bytes(16, "big"), about, app_id, False, 1)
        (session,) = (await self.store.commit([], [opening])).sessions
        assert session is not None
        return session

    async def write(self, *batches: tuple[Session, bytes]) -> None:
        """One commit."""
        await self.store.commit([write(session, data) for session, data in batches])

    def merge(self, after: int = 0, query: Query = QUERY) -> Merge:
        return Merge(self.store, self.reader, query, after)


async def drain(merge: Merge, changed: Changed | None = None) -> list[Told]:
    return [
        line
        async for portion in merge.portions(changed)
        for found in portion
        if (line := told(*found))
    ]


def texts(lines: list[Told]) -> list[str]:
    return [f"{line.session.description.hostname[4:]}:{line.text}" for line in lines]


def test_sessions_are_merged_as_they_became_readable(tmp_path: Path) -> None:
    """Not by their own clocks; a stranger's are not among them."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        one, two, other = await bench.open(1), await bench.open(2), await bench.open(3, app_id=8)
        merge = bench.merge()
        await bench.write((one, output(b"a\n", time_us=900)), (two, output(b"b\n", time_us=5)))
        await bench.write((other, output(b"x\n")), (two, output(b"c\nd\ne")))
        first = await drain(merge)
        assert texts(first) == ["1:a", "2:b", "2:c", "2:d"]
        assert await drain(merge) == []
        await bench.write((one, output(b"f\n")), (two, output(b"!\n")))
        second = await drain(merge)
        assert texts(second) == ["1:f", "2:e!"]
        assert texts(await drain(bench.merge(after=first[1].id))) == texts([*first[2:], *second])
        await bench.store.close()

    asyncio.run(scenario())


def test_what_is_told_of_a_session(tmp_path: Path) -> None:
    """Lines and gaps; a terminal's without colours; nothing of resizes and exits, but what they end."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        one = await bench.open(1)
        gap = encode(Kind.GAP, 5, records.gap(30, 12, GapCause.OVERFLOW))
        batch = [
            start_record(),
            output(b"\x1b[31mred\x1b[0m\r\n", Kind.TTY),
            output(b"\x1b[31mraw\x1b[0m\n"),
            output(b"err\n", Kind.STDERR),
            output(b"cut"),
            gap,
            encode(Kind.RESIZED, 6, records.resized(80, 24)),
            output(b"last"),
            exit_record(3),
        ]
        for part in batch:
            await bench.write((one, part))
        told = await drain(bench.merge())
        assert [(line.stream, line.text) for line in told] == [
            ("stdout", "red"),
            ("stdout", "\x1b[31mraw\x1b[0m"),
            ("stderr", "err"),
            ("stdout", "cut"),
            ("stderr", "12 bytes lost: the spool was full"),
            ("stdout", "last"),
        ]
        await bench.store.close()

    asyncio.run(scenario())


def test_entry_beyond_the_horizon_waits(tmp_path: Path) -> None:
    """What becomes readable while a round reads may come behind something that it has passed by."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        one, two = await bench.open(1), await bench.open(2)
        await bench.write((one, output(b"a\n")), (two, output(b"b\n")))
        merge, horizon = bench.merge(), bench.store.horizon

        async def late() -> int:
            found = await horizon()
            await bench.write((two, output(b"c\n")))
            await bench.write((one, output(b"d\n")))
            return found

        bench.store.horizon = late  # type: ignore[method-assign]
        assert texts(await drain(merge)) == ["1:a", "2:b"]
        bench.store.horizon = horizon  # type: ignore[method-assign]
        assert texts(await drain(merge)) == ["2:c", "1:d"]
        await bench.store.close()

    asyncio.run(scenario())


def test_round_looks_at_what_changed_and_at_nothing_else(tmp_path: Path) -> None:
    """Once it has looked at everything; of another deployment it tells nothing."""

    async def scenario() -> None:
        bench, fanout = Bench(tmp_path), Fanout()
        listener = asyncio.create_task(bench.store.listen(fanout.hear, fanout.wake_all))
        await asyncio.sleep(0)  # for it to begin: this store never waits
        one, two, other = await bench.open(1), await bench.open(2), await bench.open(3, app_id=8)
        await bench.write((one, output(b"a\n")), (two, output(b"b\n")))
        subscription, merge = fanout.subscribe_app(APP), bench.merge()
        assert subscription.take() is None
        assert texts(await drain(merge)) == ["1:a", "2:b"]

        loaded, load_all = list[int](), bench.store.load_all

        async def counted(session_ids: Sequence[bytes]) -> list[Session]:
            loaded.extend(int.from_bytes(session_id, "big") for session_id in session_ids)
            return await load_all(session_ids)

        bench.store.load_all = counted  # type: ignore[method-assign]
        bench.store.sessions = bench.store.load = None  # type: ignore[assignment,method-assign]
        await bench.write((two, output(b"c\n")), (other, output(b"x\n")))
        assert texts(await drain(merge, subscription.take())) == ["2:c"]
        await bench.write((one, output(b"d\n")))
        await bench.write((two, output(b"e\n")), (one, output(b"f\n")))
        assert texts(await drain(merge, subscription.take())) == ["1:d", "2:e", "1:f"]
        assert await drain(merge, subscription.take()) == []
        assert sorted(loaded) == [1, 2, 2]

        await bench.write((one, output(b"g\n")))
        of_another = bench.merge(merge.after, Query(app_id=APP, deployment_id=9))
        assert await drain(of_another, subscription.take()) == []
        listener.cancel()
        await bench.store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("at_a_time", [50, 1])
def test_any_commits_and_any_looks(
    tmp_path: Path, seed: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come, go and come again have every line once, in one order for all of them. Chunks are
    merged meanwhile; and there may be more sessions than are held at a time."""
    chance = random.Random(seed)
    monkeypatch.setattr(merging, "LISTED", at_a_time)
    monkeypatch.setattr(merging, "HELD", at_a_time)

    async def scenario() -> None:
        bench, fanout = Bench(tmp_path), Fanout()
        listener = asyncio.create_task(bench.store.listen(fanout.hear, fanout.wake_all))
        await asyncio.sleep(0)  # for it to begin: this store never waits
        sessions = [await bench.open(number) for number in range(1, 5)]
        steady, steadily = bench.merge(), list[Told]()
        subscription, led, by_news = fanout.subscribe_app(APP), bench.merge(), list[Told]()
        restless, after = list[Told](), 0
        for round_ in range(300):
            chosen = chance.sample(sessions, chance.randint(1, 3))
            parts = [
                (session, output(b"%d" % round_ + b"\n" * chance.randint(0, 3)))
                for session in chosen
            ]
            await bench.write(*parts)
            if chance.random() < 0.2:
                steadily += await drain(steady)
            if chance.random() < 0.3:
                by_news += await drain(led, subscription.take())
            if chance.random() < 0.01:
                fanout.wake_all()
            if chance.random() < 0.1:
                found = await drain(bench.merge(after))
                restless += found
                after = found[-1].id if found else after
        steadily += await drain(steady)
        by_news += await drain(led, subscription.take())
        restless += await drain(bench.merge(after))
        everything = await drain(bench.merge())
        ids = [line.id for line in everything]
        assert ids == sorted(set(ids))
        assert len(ids) == sum(session.entries for session in sessions)
        for seen in (steadily, restless, by_news):
            assert [(line.id, line.text) for line in seen] == [
                (line.id, line.text) for line in everything
            ]
        last, after = await newest(bench.store, bench.reader, QUERY, 25)
        assert [line.id for line in last] == ids[-25:]
        assert after >= ids[-1]
        listener.cancel()
        await bench.store.close()

    asyncio.run(scenario())
