"""Records to lines: wherever the output was cut, the lines are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.printed import lines
from ptyshipper.printed.lines import Line, LineAssembler
from ptyshipper.printed.losses import CAUSES, Lost
from ptyshipper.records import GapCause, Kind, Record


def out(content: bytes, time_us: int = 0, kind: Kind = Kind.STDOUT) -> Record:
    return Record(kind, time_us, content)


def gap(lost_bytes: int, cause: int = GapCause.OVERFLOW, time_us: int = 9) -> Record:
    return Record(
        Kind.GAP,
        time_us,
        records.gap(lost_bytes + 16, lost_bytes, GapCause(1))[:-1] + bytes([cause]),
    )


def assembled(*given_records: Record, stream: str | None = None) -> list[Line | Lost]:
    assembler = LineAssembler(stream)
    return [
        line for record in given_records for line in assembler.feed(record)
    ] + assembler.finish()


@given(st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=10))
def test_lines_do_not_depend_on_the_cuts(content: bytes, cuts: list[int]) -> None:
    """Contents are those of the whole; only the last may be incomplete."""
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    pieces = [content[start:end] for start, end in pairwise(edges)]
    found = assembled(*(out(piece) for piece in pieces))
    expected = content.split(b"\n")
    whole = [Line(0, "stdout", text, True) for text in expected[:-1]]
    rest = [Line(0, "stdout", expected[-1], False)] if expected[-1] else []
    assert found == whole + rest


def test_time_of_a_line_is_that_of_its_first_byte() -> None:
    found = assembled(out(b"he", 1), out(b"llo\nwor", 2), out(b"ld\n", 3))
    assert found == [Line(1, "stdout", b"hello", True), Line(2, "stdout", b"world", True)]


def test_streams_do_not_mix() -> None:
    """Each has its own line; those that never end come in the order they began."""
    found = assembled(out(b"o", 1), out(b"e", 2, Kind.STDERR), out(b"ut\n", 3), out(b"o", 4))
    assert found == [
        Line(1, "stdout", b"out", True),
        Line(2, "stderr", b"e", False),
        Line(4, "stdout", b"o", False),
    ]


def test_one_stream_alone() -> None:
    """Gaps are told all the same: they may be its own."""
    found = assembled(out(b"o\n"), out(b"e\n", 0, Kind.STDERR), gap(5), stream="stderr")
    assert found == [Line(0, "stderr", b"e", True), Lost(9, 5, "the spool was full")]


def test_gap_ends_the_line_before_it() -> None:
    """What was begun and what follows may belong to different lines."""
    found = assembled(out(b"begun"), gap(4_000), out(b"rest\n"))
    assert found == [
        Line(0, "stdout", b"begun", False),
        Lost(9, 4_000, "the spool was full"),
        Line(0, "stdout", b"rest", True),
    ]


@pytest.mark.parametrize("cause", [*GapCause, 77])
def test_every_cause_of_a_gap_has_words(cause: int) -> None:
    """Also one of a later version."""
    (found,) = assembled(gap(3, cause))
    assert str(found).startswith("3 bytes lost: ")
    assert set(CAUSES) == set(GapCause)


def test_endless_line_is_given_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is held is bounded; the pieces are the line."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    found = assembled(*[out(b"x" * 30)] * 10, out(b"\n"))
    contents = [line.content for line in found if isinstance(line, Line)]
    assert b"".join(contents) == b"x" * 300
    assert max(map(len, contents)) < 130
    assert [line.complete for line in found if isinstance(line, Line)] == [False, False, True]


def test_other_records_are_no_lines() -> None:
    assert (
        assembled(Record(Kind.RESIZED, 0, records.resized(1, 2)), Record(Kind.EXITED, 0, bytes(3)))
        == []
    )
