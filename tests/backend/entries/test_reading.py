"""Pages of entries, forwards and backwards: each entry once, whatever is asked for and how."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.entries import reading, turns
from ptyshipper.backend.entries.derive import Derivation, Wanted
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.entries.reading import Page, Reader, Span
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.session import Chunk
from ptyshipper.records import Kind
from tests.backend.entries.sessions import batches
from tests.support.chunked import ReadOnlyStore, session_of
from tests.support.server import output

STREAM = st.sampled_from([None, "stdout", "stderr", "tty"])


def expected(chunks: list[Chunk], stream: str | None = None) -> tuple[list[Entry], list[Entry]]:
    derivation = Derivation(Wanted(stream=stream))
    found = [entry for chunk in chunks for entry in derivation.feed(chunk) if entry is not None]
    return found, derivation.unfinished()


def reader(chunks: list[Chunk]) -> Reader:
    return Reader(ReadOnlyStore(chunks), Turns())


@given(batches(), STREAM, st.integers(1, 7), st.integers(0, 5))
def test_forwards_each_entry_once(
    parts: list[bytes], stream: str | None, limit: int, begin: int
) -> None:
    """Page by page, until the last, which has the lines that are open."""
    session, chunks = session_of(parts)

    async def read() -> tuple[list[Entry], list[Entry]]:
        found, number = list[Entry](), begin
        while True:
            page = await reader(chunks).page_from(
                session, Span(number), limit, Wanted(stream=stream)
            )
            assert len(page.entries) <= limit
            found += page.entries
            if page.is_last:
                assert page.end == max(begin, session.entries)
                return found, page.unfinished
            number = page.end

    entries, unfinished = expected(chunks, stream)
    assert asyncio.run(read()) == ([e for e in entries if (e.number or 0) >= begin], unfinished)


@given(batches(), STREAM, st.integers(1, 7), st.integers(0, 5))
def test_backwards_each_entry_once(
    parts: list[bytes], stream: str | None, limit: int, begin: int
) -> None:
    """From the tail, which has the lines that are open, to the beginning of the span."""
    session, chunks = session_of(parts)

    async def read() -> tuple[list[Entry], list[Entry]]:
        page = await reader(chunks).page_before(session, Span(begin), limit, Wanted(stream=stream))
        found, unfinished = page.entries, page.unfinished
        assert page.is_last
        while page.begin > begin:
            page = await reader(chunks).page_before(
                session, Span(begin, page.begin), limit, Wanted(stream=stream)
            )
            assert len(page.entries) <= limit
            assert not page.unfinished
            found = page.entries + found
        return found, unfinished

    entries, unfinished = expected(chunks, stream)
    assert asyncio.run(read()) == ([e for e in entries if (e.number or 0) >= begin], unfinished)


@given(batches(), st.integers(0, 9), st.integers(0, 9))
def test_span_has_an_end(parts: list[bytes], begin: int, count: int) -> None:
    """Neither side goes beyond it, nor tells of lines that are open."""
    session, chunks = session_of(parts)
    span = Span(begin, min(begin + count, session.entries))
    for read in (reader(chunks).page_from, reader(chunks).page_before):
        page = asyncio.run(read(session, span, 100))
        assert [e.number for e in page.entries] == list(range(begin, max(begin, span.end or 0)))
        assert page.unfinished == []


def test_page_holds_only_so_much_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """But its first line, whatever its size; the next page goes on behind it."""
    monkeypatch.setattr(reading, "PAGE_BYTES", 50)
    session, chunks = session_of([output(b"x" * 30 + b"\n")] * 3 + [output(b"y" * 80 + b"\n")])

    def lengths(page: Page) -> list[int]:
        return [len(entry.text) for entry in page.entries]

    first = asyncio.run(reader(chunks).page_from(session, Span(0), 10))
    assert (lengths(first), first.end, first.is_last) == ([30], 1, False)
    last = asyncio.run(reader(chunks).page_before(session, Span(0), 10))
    assert (lengths(last), last.begin) == ([80], 3)
    before = asyncio.run(reader(chunks).page_before(session, Span(0, last.begin), 10))
    assert (lengths(before), before.begin) == ([30], 2)


def test_page_that_takes_too_long_says_how_far_it_came() -> None:
    """A filter that nothing fits gives empty pages, and an end."""
    session, chunks = session_of([output(b"x\n" * 10)] * 4)
    wanted = Wanted(stream="tty")

    async def read() -> int:
        pages, number = 0, 0
        while not (
            page := await reader(chunks).page_from(session, Span(number), 5, wanted, within_s=0.0)
        ).is_last:
            assert page.entries == []
            assert page.end > number
            pages, number = pages + 1, page.end
        return pages

    assert 2 <= asyncio.run(read()) <= 4


def test_scan_goes_on_where_the_session_does() -> None:
    """The line that was open is read to its end."""
    parts = [output(b"one\ntw", Kind.TTY), output(b"o\n", Kind.TTY)]
    session, chunks = session_of(parts)
    store = ReadOnlyStore(chunks[:1])

    async def read() -> list[list[str]]:
        scan = await Reader(store, Turns()).scan(session, 0)
        first = [entry.text async for found in scan.slices() for entry in found]
        unfinished = [entry.text for entry in scan.unfinished()]
        store.stored = chunks
        return [first, unfinished, [entry.text async for found in scan.slices() for entry in found]]

    assert asyncio.run(read()) == [["one"], ["tw"], ["two"]]


def test_search_leaves_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody else is run after every slice, though there is nothing to be told of any."""
    monkeypatch.setattr(turns, "SLICE_S", 0.0)
    session, chunks = session_of([output(b"nothing here\n" * 4_800) * 4] * 80)

    async def read() -> int:
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        needle = Needle("X", is_case_sensitive=True)
        scan = await reader(chunks).scan(session, 0, Wanted(needle=needle))
        assert [entry async for found in scan.slices() for entry in found] == []
        assert scan.number == session.entries
        running.cancel()
        return others

    assert asyncio.run(read()) >= 80


def test_tail_of_a_session_without_entries() -> None:
    """There may be a line that is open, or nothing at all."""
    session, chunks = session_of([output(b"$ ", Kind.TTY)])
    page = asyncio.run(reader(chunks).page_before(session, Span(0), 10))
    assert ([e.text for e in page.unfinished], page.entries, page.is_last) == (["$ "], [], True)
    nothing, _ = session_of([])
    assert asyncio.run(reader([]).page_before(nothing, Span(0), 10)) == Page([], [], 0, 0, True)
