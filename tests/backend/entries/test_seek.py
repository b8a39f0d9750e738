"""Beginning anywhere: what is read from there is what reading from the start would have given."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.entries.derive import Derivation
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.seek import (
    READ_BACK_BYTES,
    begin_at,
    first_number,
    number_by_id,
    number_by_time,
)
from ptyshipper.backend.session import Chunk, Session
from ptyshipper.records import GapCause, Kind, encode
from tests.backend.entries.sessions import batches
from tests.support.chunked import ReadOnlyStore, merge, session_of
from tests.support.server import output


def read_all(chunks: list[Chunk]) -> list[Entry]:
    derivation = Derivation()
    found = [entry for chunk in chunks for entry in derivation.feed(chunk) if entry is not None]
    return [*found, *derivation.unfinished()]


def read_from(session: Session, chunks: list[Chunk], number: int) -> list[Entry]:
    async def read() -> list[Entry]:
        store = ReadOnlyStore(chunks)
        derivation, offset = await begin_at(store, session, number)
        left = await store.chunks(1, offset, 1 << 30)
        found = [entry for chunk in left for entry in derivation.feed(chunk) if entry is not None]
        return [*found, *derivation.unfinished()]

    return asyncio.run(read())


def behind(entries: list[Entry], number: int) -> list[Entry]:
    return [entry for entry in entries if entry.number is None or entry.number >= number]


@given(batches(), st.data())
def test_any_number(parts: list[bytes], data: st.DataObject) -> None:
    """Also where the entry began chunks before the one that completes it, and in merged chunks."""
    session, chunks = session_of(parts)
    number = data.draw(st.integers(0, session.entries + 2))
    stored = merge(chunks, data.draw(st.integers(0, 4)), data.draw(st.integers(1, 4)))
    assert read_from(session, stored, number) == behind(read_all(chunks), number)


@given(batches(), st.data())
def test_front_that_retention_took_away(parts: list[bytes], data: st.DataObject) -> None:
    """What is left has its numbers; only a line that lost its beginning is another."""
    session, chunks = session_of(parts)
    gone = data.draw(st.integers(0, len(chunks)))
    session.first_offset = chunks[gone].first_offset if gone < len(chunks) else session.next_offset
    number = data.draw(st.integers(0, session.entries))
    left = chunks[gone:]
    found = read_from(session, left, number)
    assert [e.number for e in found] == [e.number for e in behind(read_all(left), number)]
    whole = {(e.number, e.stream): e for e in read_all(chunks)}
    for entry in found:
        assert entry.is_truncated or entry == whole[entry.number, entry.stream]
    first = asyncio.run(first_number(ReadOnlyStore(left), session))
    assert first == (left[0].first_entry if left else session.entries)


@given(batches(), st.integers(-5, 300))
def test_time(parts: list[bytes], time_us: int) -> None:
    """However the session is cut."""
    session, chunks = session_of(parts)
    whole, (chunk,) = session_of([b"".join(parts)])
    found = asyncio.run(number_by_time(ReadOnlyStore(chunks), session, time_us))
    assert found == asyncio.run(number_by_time(ReadOnlyStore([chunk]), whole, time_us))


@given(batches(), st.integers(900, 4_000), st.integers(0, 4), st.integers(1, 4))
def test_id(parts: list[bytes], id: int, at: int, count: int) -> None:
    """The first with a greater one."""
    session, chunks = session_of(parts)
    ids = [entry.id for entry in read_all(chunks) if entry.id is not None]
    found = asyncio.run(number_by_id(ReadOnlyStore(merge(chunks, at, count)), session, id))
    assert found == sum(each <= id for each in ids)


def test_empty_session_has_nothing_anywhere() -> None:
    session, _ = session_of([])
    store = ReadOnlyStore([])
    assert read_from(session, [], 5) == []
    assert asyncio.run(first_number(store, session)) == 0
    assert asyncio.run(number_by_time(store, session, 5)) == 0
    assert asyncio.run(number_by_id(store, session, 5)) == 0


def test_line_that_began_far_back_is_read_from_its_two_ends() -> None:
    """Not from there on: a gigabyte may lie between."""
    other = output(b"x" * 60_000 + b"\n", time_us=20)
    parts = [
        output(b"old\nbegun ", Kind.STDERR, 5),
        *[other] * 30,
        output(b"ended\n", Kind.STDERR, 30),
    ]
    session, chunks = session_of(parts)
    assert chunks[-1].first_offset > READ_BACK_BYTES
    (entry,) = read_from(session, chunks, session.entries - 1)
    assert (entry.text, entry.time_us, entry.is_truncated) == ("begun ended", 5, True)
    (whole,) = behind(read_all(chunks), session.entries - 1)
    assert whole == entry._replace(is_truncated=False)


def test_place_is_found_in_few_looks() -> None:
    """Also in a session whose offsets were moved on by a gap of nearly all of them."""
    gap = encode(Kind.GAP, 0, records.gap(2**62, 0, GapCause.OVERFLOW))
    session, chunks = session_of([output(b"a\n")] * 500 + [gap] + [output(b"a\n")] * 500)
    store = ReadOnlyStore(chunks)
    for number in (0, 499, 500, 501, 1_000):
        store.looks = 0
        _, offset = asyncio.run(begin_at(store, session, number))
        assert store.looks <= 64
        assert offset == chunks[number].first_offset
