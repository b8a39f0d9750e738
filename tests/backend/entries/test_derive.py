"""Chunks to entries: as many as were counted, and the same however they were cut."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.digest import NO_LINE
from ptyshipper.backend.entries.derive import (
    EVERYTHING,
    MAX_LINE_BYTES,
    SETTLED_BYTES,
    Derivation,
    Wanted,
    number_after,
    number_at,
)
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.needle import Needle
from ptyshipper.backend.session import Chunk
from ptyshipper.records import GapCause, Kind, encode
from tests.backend.entries.sessions import batches
from tests.support.chunked import merge, session_of
from tests.support.server import exit_record, output, start_record

GAP = encode(Kind.GAP, 50, records.gap(1_000, 900, GapCause.OVERFLOW))


def derived(chunks: list[Chunk], wanted: Wanted = EVERYTHING) -> tuple[list[Entry], list[Entry]]:
    derivation = Derivation(wanted)
    found = [entry for chunk in chunks for entry in derivation.feed(chunk) if entry is not None]
    return found, derivation.unfinished()


def entries_of(*parts: bytes) -> list[Entry]:
    return derived(session_of(parts)[1])[0]


def texts(*parts: bytes) -> list[str]:
    return [entry.text for entry in entries_of(*parts)]


@given(batches())
def test_as_many_as_the_digest_counts(parts: list[bytes]) -> None:
    """Numbered without a hole, ids rising with them, and open where the digest says so."""
    session, chunks = session_of(parts)
    entries, unfinished = derived(chunks)
    assert [entry.number for entry in entries] == list(range(session.entries))
    assert len(unfinished) == sum(offset != NO_LINE for offset in session.open_lines)
    for chunk in chunks:
        for number in range(chunk.first_entry, chunk.end_entry):
            assert entries[number].id == chunk.arrival_of(number)


@given(batches(), st.integers(0, 10), st.integers(2, 10))
def test_cuts_and_merges_change_nothing(parts: list[bytes], at: int, count: int) -> None:
    """But for the ids, which are those of the chunks that came."""
    _, chunks = session_of(parts)
    whole = derived(session_of([b"".join(parts)])[1])
    found = derived(chunks)
    assert [e._replace(id=None) for e in found[0]] == [e._replace(id=None) for e in whole[0]]
    assert found[1] == whole[1]
    assert derived(merge(chunks, at, count)) == found


@given(batches(), st.data())
def test_reading_goes_on_in_a_chunk_that_was_merged_meanwhile(
    parts: list[bytes], data: st.DataObject
) -> None:
    """What was read of it is not read again, and lines that began before it are whole."""
    _, chunks = session_of(parts)
    read = data.draw(st.integers(1, len(chunks)))
    at = data.draw(st.integers(0, read - 1))
    derivation = Derivation()
    found = [e for chunk in chunks[:read] for e in derivation.feed(chunk) if e is not None]
    left = [c for c in merge(chunks, at, len(chunks)) if c.end_offset > derivation.offset]
    found += [e for chunk in left for e in derivation.feed(chunk) if e is not None]
    assert (found, derivation.unfinished()) == derived(chunks)


@given(batches(), st.integers(0, 30), st.sampled_from([None, "stdout", "stderr", "tty"]))
def test_what_is_not_wanted_is_left_out(
    parts: list[bytes], number: int, stream: str | None
) -> None:
    """The rest is as it would have been; events belong to every stream."""
    _, chunks = session_of(parts)
    found, _ = derived(chunks, Wanted(number, stream))
    assert found == [
        entry
        for entry in derived(chunks)[0]
        if (entry.number or 0) >= number and (stream is None or entry.stream in (None, stream))
    ]


@given(
    batches(),
    st.sampled_from(["a", "bC", "é", "abc", "\ufffd", "lost", "cbc", "[31m"]),
    st.booleans(),
)
def test_search_finds_what_a_look_at_each_line_finds(
    parts: list[bytes], text: str, is_case_sensitive: bool
) -> None:
    """Whole blocks of lines are passed over only where none of them holds it."""
    _, chunks = session_of(parts)
    needle = Needle(text, is_case_sensitive=is_case_sensitive)
    found, _ = derived(chunks, Wanted(needle=needle))
    assert found == [entry for entry in derived(chunks)[0] if needle.is_in(entry.text)]


def test_line_is_the_terminal_s_in_the_end() -> None:
    """Colours stay, what was written over goes, so do titles; from a pipe all is as it came."""
    shown = b"10%\r\x1b]0;title\x07\x1b[31m100%\x1b[0m\r\n"
    assert texts(output(shown, Kind.TTY)) == ["\x1b[31m100%"]
    assert texts(output(shown)) == ["10%\r\x1b]0;title\x07\x1b[31m100%\x1b[0m"]


def test_line_s_time_is_its_first_byte_s() -> None:
    (entry,) = entries_of(output(b"a", time_us=5), output(b"b\n", time_us=9))
    assert (entry.time_us, entry.text, entry.stream) == (5, "ab", "stdout")


def test_end_completes_what_is_open_in_the_order_that_it_began() -> None:
    """A gap does, too, and no line goes on behind it."""
    parts = (
        output(b"b", Kind.STDERR),
        output(b"a"),
        output(b"c", Kind.TTY),
        GAP,
        output(b"d"),
        exit_record(3),
    )
    entries = entries_of(*parts)
    assert [e.text for e in entries] == [
        "b",
        "a",
        "c",
        "900 bytes lost: the spool was full",
        "d",
        "exited with 3",
    ]
    assert [e.kind for e in entries] == ["line", "line", "line", "gap", "line", "exited"]


@pytest.mark.parametrize(
    ("record", "kind", "text", "fields"),
    [
        (
            encode(Kind.RESIZED, 7, records.resized(100, 30)),
            "resized",
            "window 100 x 30",
            {"cols": 100, "rows": 30},
        ),
        (
            encode(Kind.SIGNALLED, 7, records.signalled(15)),
            "signalled",
            "SIGTERM sent",
            {"signal": 15},
        ),
        (
            encode(Kind.SIGNALLED, 7, records.signalled(40)),
            "signalled",
            "signal 40 sent",
            {"signal": 40},
        ),
        (
            encode(Kind.EXITED, 7, records.exited(0, 11, True)),
            "exited",
            "ended by SIGSEGV, core dumped",
            {"code": None, "signal": 11, "core_dumped": True},
        ),
    ],
)
def test_event(record: bytes, kind: str, text: str, fields: dict[str, object]) -> None:
    (entry,) = entries_of(start_record() + record)
    assert entry == Entry(0, 1_000, 7, kind, None, text, False, fields, 7)


def test_line_without_an_end_is_unfinished() -> None:
    """It is seen as far as it has come, and is no entry yet."""
    found, unfinished = derived(session_of([output(b"one\n$ ", Kind.TTY, 4)])[1])
    assert [entry.text for entry in found] == ["one"]
    assert unfinished == [Entry(None, None, 4, "line", "tty", "$ ")]


def test_long_line_is_cut_at_a_character() -> None:
    """Its beginning is told, and that it is not all."""
    euros = "€".encode() * 20_000
    (entry,) = entries_of(
        *(output(euros[at : at + 50_000]) for at in range(0, 60_000, 50_000)), output(euros + b"\n")
    )
    assert entry.is_truncated
    assert entry.text == "€" * (MAX_LINE_BYTES // 3)


def test_line_as_long_as_can_be_is_whole() -> None:
    (entry,) = entries_of(output(b"x" * 60_000), output(b"y" * 5_536 + b"\n"))
    assert (len(entry.text), entry.is_truncated) == (MAX_LINE_BYTES, False)


def test_long_progress_bar_is_what_it_was_last() -> None:
    """However long it went on; it is the same line when it came in one record."""
    bar = b"".join(b"\r%5d of 10000" % number for number in range(4_000))
    cut = entries_of(
        *(output(bar[at : at + 999], Kind.TTY) for at in range(0, len(bar), 999)),
        output(b"\n", Kind.TTY),
    )
    assert [(e.text, e.is_truncated) for e in cut] == [(" 3999 of 10000", True)]
    assert texts(output(bar + b"\n", Kind.TTY)) == [" 3999 of 10000"]


@given(st.integers(0, 2**32), st.integers(1, 4 * SETTLED_BYTES))
def test_text_of_a_long_line_does_not_depend_on_its_cuts(seed: int, size: int) -> None:
    """Of a terminal or not, written over or not."""
    source = random.Random(seed)
    kind = source.choice([Kind.TTY, Kind.STDOUT])
    alphabet = source.choice([b"abc", b"abcdefghijklm\r", b"ab\b\xc3\xa9"])
    data = bytes(source.choices(alphabet, k=size)) + b"\n"
    cuts = sorted({0, len(data), *(source.randrange(len(data)) for _ in range(5))})
    parts = [output(data[a:b], kind) for a, b in itertools.pairwise(cuts)]
    small = [output(data[at : at + 30_000], kind) for at in range(0, len(data), 30_000)]
    assert [e._replace(id=None) for e in entries_of(*parts)] == [
        e._replace(id=None) for e in entries_of(*small)
    ]


def test_line_whose_beginning_is_not_there_says_so() -> None:
    """Retention has deleted it."""
    _, chunks = session_of([output(b"one\ntw", time_us=5), output(b"o\nthree\n", time_us=9)])
    found, _ = derived(chunks[1:])
    assert [(e.number, e.text, e.is_truncated, e.time_us) for e in found] == [
        (1, "o", True, 9),
        (2, "three", False, 9),
    ]


def test_damaged_chunk_takes_only_itself_along() -> None:
    """The next one knows its place."""
    _, chunks = session_of([output(b"one\n"), output(b"two\n") + output(b"3\n"), output(b"four\n")])
    damaged = chunks[1].records[:25] + b"\xff" * (len(chunks[1].records) - 25)
    found, _ = derived([chunks[0], chunks[1]._replace(records=damaged), chunks[2]])
    assert (found[0].number, found[0].text) == (0, "one")
    assert (found[-1].number, found[-1].text) == (3, "four")


@given(st.binary(max_size=300), st.integers(0, 3), st.integers(-1, 50))
def test_nothing_that_is_stored_can_break_it(junk: bytes, first_entry: int, begun: int) -> None:
    """Bytes of the disk's own making, with numbers that fit nothing."""
    chunk = Chunk(
        0, 400, 0, 0, first_entry, first_entry + 1, (begun, -1, begun), output(b"a\n") + junk
    )
    found, unfinished = derived([chunk])
    assert found[0].number == first_entry
    assert len(unfinished) <= 3
    number_at(chunk, 1)


def test_nothing_found_in_much_is_a_pause_now_and_then() -> None:
    _, chunks = session_of([output(b"x" * 30_000 + b"\n") * 20])
    needle = Needle("y", is_case_sensitive=True)
    assert list(Derivation(Wanted(needle=needle)).feed(chunks[0])).count(None) >= 6


@given(batches(), st.integers(-5, 300))
def test_number_at_a_time(parts: list[bytes], time_us: int) -> None:
    """That of the first entry which a record of that time or later completes."""
    session, (chunk,) = session_of([b"".join(parts)])
    at = number_at(chunk, time_us)
    earlier = b"".join(
        encode(r.kind, r.time_us, r.payload)
        for r in records.decode(chunk.records)
        if r.time_us < time_us
    )
    assert at == (session_of([earlier])[0].entries if earlier else 0)
    assert at <= session.entries


@given(batches(), st.integers(900, 4_000))
def test_number_after_an_id(parts: list[bytes], id: int) -> None:
    """Also in a chunk that was merged of several."""
    _, chunks = session_of(parts)
    (chunk,) = merge(chunks, 0, len(chunks))
    ids = [entry.id or 0 for entry in derived(chunks)[0]]
    assert number_after(chunk, id) == sum(each <= id for each in ids)
