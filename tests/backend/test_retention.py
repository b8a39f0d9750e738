"""Retention: in small steps, beside ingest, and what is kept is kept whole."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend import retention
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.retention import (
    LOOK_EVERY_S,
    MAX_STEP_CHUNKS,
    SHARE,
    STEP_WITHIN_S,
    Pace,
    Retention,
    keep_to,
)
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError
from ptyshipper.records import Kind, decode
from ptyshipper.wire import messages
from tests.support.patience import until
from tests.support.server import Server, Shipper, exit_record, output, running_server

DAY_S = 86_400.0


def test_steps_grow_while_they_are_short_and_shrink_when_they_are_not() -> None:
    pace = Pace()
    for _ in range(10):
        pace.rest_s(pace.chunks, 0.001)
    assert pace.chunks == MAX_STEP_CHUNKS
    pace.rest_s(pace.chunks, STEP_WITHIN_S * 2)
    assert pace.chunks == MAX_STEP_CHUNKS // 2
    for _ in range(20):
        pace.rest_s(pace.chunks, 1.0)
    assert pace.chunks == 1


def test_nothing_to_do_is_a_long_rest() -> None:
    assert Pace().rest_s(0, 0.001) == LOOK_EVERY_S


@given(took_s=st.floats(0.0001, 10), deleted=st.integers(1, MAX_STEP_CHUNKS))
def test_it_never_takes_more_than_its_share(took_s: float, deleted: int) -> None:
    rest_s = Pace().rest_s(deleted, took_s)
    assert took_s / (took_s + rest_s) <= SHARE * 1.01


class FakeStore:
    """Answers what it is told to, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int | None, int]] = []
        self.done = asyncio.Event()

    async def expire(self, before_us: int, max_bytes: int | None, limit: int) -> int:
        self.asked.append((before_us, max_bytes, limit))
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        if isinstance(answer, Exception):
            raise answer
        return int(answer)


async def kept(kept_to: Retention, *answers: Any) -> tuple[FakeStore, Counts]:
    store, counts = FakeStore(*answers), Counts()
    keeping = asyncio.create_task(keep_to(kept_to, cast(Store, store), counts))
    await store.done.wait()
    keeping.cancel()
    return store, counts


def test_it_goes_on_until_there_is_nothing_left_whatever_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it the disk fills up: neither the store's failure nor a flaw of ours is the end of it."""
    monkeypatch.setattr(retention, "LOOK_EVERY_S", 0.0)
    answers = (16, StoreError("full"), KeyError("a flaw"), 3, 0, 0)
    store, counts = asyncio.run(kept(Retention(DAY_S, 10), *answers))
    assert len(store.asked) == 6
    assert (counts.expired, counts.store_errors["expire"]) == (19, 2)
    before_us, max_bytes, limit = store.asked[0]
    assert abs(time.time() - DAY_S - before_us / 1e6) < 60
    assert (max_bytes, limit) == (10, 16)


def test_by_size_alone_nothing_is_too_old() -> None:
    store, _ = asyncio.run(kept(Retention(None, 10), 0))
    assert store.asked == [(0, 10, 16)]


def test_for_ever_is_no_work_at_all() -> None:
    asyncio.run(keep_to(Retention(None, None), cast(Store, FakeStore()), Counts()))


QUICK = "from ptyshipper.backend import retention\nretention.LOOK_EVERY_S = 0.02\n"
RECORD_BYTES = 20_000


def numbered(number: int) -> bytes:
    """A record that knows its place, too large to be merged with others."""
    return output(b"%08d" % number + os.urandom(RECORD_BYTES - 8))


def read(server: Server, session_id: bytes) -> tuple[int, list[int], dict[str, Any]]:
    """Where what is kept begins, the numbers of its records, and the summary."""
    numbers, first_offset, next_offset = list[int](), -1, 0
    with server.view(session_id) as viewer:
        while True:
            raw = viewer.recv(20)
            assert isinstance(raw, bytes)
            message = messages.read_viewer_message(raw)
            if isinstance(message, messages.Summary):
                return first_offset, numbers, message.session
            if first_offset < 0:
                first_offset = message.offset
            else:
                assert message.offset == next_offset
            next_offset = message.offset + len(message.records)
            numbers += [
                int(record.payload[:8])
                for record in decode(message.records)
                if record.kind == Kind.STDOUT
            ]


def test_a_live_session_loses_its_front_and_nothing_else(tmp_path: Path) -> None:
    """While it is shipped: each kept record is there once and in order, up to the last, and its viewer is
    told where it begins."""
    with running_server(tmp_path, preamble=QUICK, retain_bytes="1M") as server:
        shipper = Shipper(server, os.urandom(16))
        for number in range(200):
            shipper.ship(numbered(number))
        until(lambda: read(server, shipper.session_id)[0] > 0, "its front is deleted")
        for number in range(200, 260):
            shipper.ship(numbered(number))
        shipper.ship(exit_record())
        size = len(numbered(0))
        until(
            lambda: len(read(server, shipper.session_id)[1]) * size <= 2**20,
            "no more is kept than was asked for",
        )
        first_offset, numbers, summary = read(server, shipper.session_id)
        assert numbers == list(range(260 - len(numbers), 260))
        assert len(numbers) * size > 2**20 - 2 * size, "nor less"
        assert first_offset == summary["first_offset"] == numbers[0] * size
        assert (summary["state"], summary["bytes"]) == ("exited", 260 * RECORD_BYTES)
        shipper.socket.close()


def test_a_follower_that_retention_overtakes_is_told_by_the_offset(tmp_path: Path) -> None:
    """It gets what is kept, with offsets that leave out what is not."""
    with running_server(tmp_path, preamble=QUICK, retain_bytes="1M") as server:
        shipper = Shipper(server, os.urandom(16))
        for number in range(150):
            shipper.ship(numbered(number))
        until(lambda: read(server, shipper.session_id)[0] > 0, "its front is deleted")
        with server.view(shipper.session_id, offset=len(numbered(0)), follow=True) as viewer:
            raw = viewer.recv(20)
            assert isinstance(raw, bytes)
            message = messages.read_viewer_message(raw)
            assert isinstance(message, messages.Batch)
            first = next(iter(decode(message.records)))
            assert message.offset == int(first.payload[:8]) * len(numbered(0)) > len(numbered(0))
        shipper.socket.close()


def test_what_is_too_old_goes_with_its_session_and_the_connected_stay(tmp_path: Path) -> None:
    """A session of nothing but old records is deleted with them once it has left; one that is connected
    goes on at its offset."""
    with running_server(tmp_path, preamble=QUICK, retain_s="1s") as server:
        gone, quiet = Shipper(server, os.urandom(16)), Shipper(server, os.urandom(16))
        gone.ship(numbered(0) + exit_record())
        gone.say_goodbye(messages.ByeReason.ENDED)
        quiet.ship(numbered(0))

        def listed() -> list[Any]:
            found: list[Any] = server.get("/api/sessions")[1]["sessions"]
            return found

        until(lambda: len(listed()) == 1, "the session that left is deleted")
        until(lambda: listed()[0]["first_offset"] == quiet.offset, "the other is emptied")
        quiet.ship(numbered(1))
        (left,) = listed()
        assert left["id"] == quiet.session_id.hex()
        assert (left["state"], left["first_offset"]) == ("running", len(numbered(0)))
        quiet.socket.close()


def test_ingest_goes_on_while_much_is_deleted(tmp_path: Path) -> None:
    """Steps are short and there are pauses between: all of a burst is taken, and the newest of it kept."""
    with running_server(tmp_path, preamble=QUICK, retain_bytes="4M") as server:
        shippers = [Shipper(server, os.urandom(16)) for _ in range(4)]
        for number in range(300):
            for shipper in shippers:
                shipper.send(numbered(number))
            for shipper in shippers:
                shipper.wait_acknowledged()
        check_newest_are_kept(server, shippers, 300)


def check_newest_are_kept(server: Server, shippers: list[Shipper], count: int) -> None:
    kept_of: Callable[[], list[list[int]]] = lambda: [  # noqa: E731
        read(server, shipper.session_id)[1] for shipper in shippers
    ]
    until(lambda: sum(map(len, kept_of())) * RECORD_BYTES <= 2**22, "the rest is deleted")
    for numbers in kept_of():
        assert numbers == list(range(count - len(numbers), count))
    assert sum(map(len, kept_of())) * RECORD_BYTES > 2**21
    for shipper in shippers:
        shipper.socket.close()
