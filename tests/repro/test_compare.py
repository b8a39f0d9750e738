"""What differs between two sessions, and where first; in values and in words."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.records import Exited, GapCause, Kind, Record, exited, gap, resized
from ptyshipper.repro.compare import MAX_LINE_BYTES, Comparison, Difference, compare
from ptyshipper.repro.comparison_text import comparison_lines
from ptyshipper.repro.timeline import TOLERANCE_US


def session(*output: tuple[int, bytes], status: bytes | None = None) -> list[Record]:
    records = [Record(kind, 1_000 * n, data) for n, (kind, data) in enumerate(output)]
    ending = exited(0, 0, False) if status is None else status
    return [*records, Record(Kind.EXITED, 2_000_000, ending)]


def compared(one: list[Record], other: list[Record], *ignore: str, **more: bool) -> Comparison:
    return compare(lambda: one, lambda: other, ignore, **more)


def first(comparison: Comparison) -> Difference:
    """The one difference of the one stream."""
    (stream,) = comparison.streams
    assert stream.difference is not None
    assert comparison.differs
    return stream.difference


def out(*pieces: bytes) -> list[Record]:
    return session(*((Kind.STDOUT, piece) for piece in pieces))


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=6),
    st.data(),
)
def test_how_it_was_cut_into_records_is_no_difference(
    pieces: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    ends = [0, *cuts, len(text)]
    others = [text[a:b] for a, b in pairwise(ends) if a < b]
    assert not compared(out(*pieces), out(*others)).differs


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=60))
def test_the_place_is_that_of_the_first_byte_that_differs(one: bytes, other: bytes) -> None:
    comparison = compared(out(one), out(other) if other else session())
    at = next((n for n in range(len(one)) if one[n : n + 1] != other[n : n + 1]), len(one))
    if one == other:
        assert not comparison.differs
        return
    found = first(comparison)
    assert found.offset == min(at, len(other)) if at < len(one) else len(one)
    assert found.line == one[: found.offset].count(b"\n") + 1
    assert found.column == found.offset - (one[: found.offset].rfind(b"\n") + 1)


def test_a_stream_that_goes_on_differs_at_its_end() -> None:
    assert first(compared(out(b"a\n"), out(b"a\n", b"b\n"))) == Difference(2, 2, 0, None, b"b\n")
    assert first(compared(out(b"a\nb\n"), out(b"a\n"))) == Difference(2, 2, 0, b"b\n", None)


def test_streams_are_compared_each_by_itself() -> None:
    """Which of two pipes was read first is chance."""
    one = session((Kind.STDOUT, b"o"), (Kind.STDERR, b"e"))
    other = session((Kind.STDERR, b"e"), (Kind.STDOUT, b"o"))
    comparison = compared(one, other)
    assert [(s.name, s.difference) for s in comparison.streams] == [
        ("stdout", None),
        ("stderr", None),
    ]
    assert compared(one, session((Kind.TTY, b"oe"))).differs


def test_lines_without_an_end_are_compared_in_equal_pieces() -> None:
    text = b"x" * (3 * MAX_LINE_BYTES) + b"\n"
    assert not compared(
        out(text), out(*(text[n : n + 999] for n in range(0, len(text), 999)))
    ).differs
    changed = text[:-2] + b"y\n"
    assert first(compared(out(text), out(changed))).offset == len(text) - 2


def test_nothing_is_ignored_unless_it_is_asked_for() -> None:
    one, other = out(b"at 12:01 done\n", b"7\n"), out(b"at 12:02 done\n", b"7\n")
    assert first(compared(one, other)).column == 7
    assert not compared(one, other, "[0-9]+:[0-9]+").differs
    assert compared(one, out(b"at 12:02 done\n", b"8\n"), "[0-9]+:[0-9]+").differs
    with pytest.raises(re.error):
        compared(one, other, "(")


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ((3, 0), (3, 0), False),
        ((3, 0), (0, 0), True),
        ((0, 15), (0, 9), True),
        ((0, 15), (143, 0), True),
    ],
)
def test_the_exit_status_counts(
    one: tuple[int, int], other: tuple[int, int], differs: bool
) -> None:
    """A program that exits with 143 is none that was ended by SIGTERM."""
    sides = [session(status=exited(*each, False)) for each in (one, other)]
    assert compared(*sides).differs is differs


def test_what_was_cut_off_has_no_status_to_differ() -> None:
    cut = out(b"a\n")[:-1]
    comparison = compared(cut, out(b"a\n"))
    assert (comparison.differs, comparison.recorded.exited) == (False, None)
    assert comparison.as_json()["exit"] == {
        "equal": True,
        "recorded": None,
        "repeated": {"code": 0},
    }


def test_in_words() -> None:
    """Everything is named, and nothing of the output is obeyed by a terminal."""
    one = session((Kind.TTY, b"same\r\nthe \x1b[31mold\x9b\r\n"), status=exited(0, 15, False))
    one.insert(1, Record(Kind.RESIZED, 100_000, resized(132, 50)))
    one.insert(2, Record(Kind.GAP, 100_000, gap(90, 50, GapCause.OVERFLOW)))
    other = session((Kind.TTY, b"same\r\nthe \x1b[31mnew\x9b\r\n"))
    comparison = compared(one, other, timeline=True)
    assert comparison.recorded.exited == Exited(0, 15, False)
    shown = "\n".join(comparison_lines(comparison))
    assert shown.splitlines() == [
        "not as recorded",
        "  exit    status 0, recorded SIGTERM",
        "  tty     differs first in line 2, column 10 (offset 15); --ignore REGEX leaves out what may"
        " differ",
        '          recorded "the \\u001b[31mold�\\r\\n"',
        '          repeated "the \\u001b[31mnew�\\r\\n"',
        "  lost    50 bytes of the recorded output were lost, so it can't be the same",
        "  time    2.00 s, recorded 2.00 s",
        f"  events  0 of 1 resizes and signals came within {TOLERANCE_US // 1000} ms of their moments",
        "          resize to 132x50 at 0.100 s did not come",
    ]


def test_of_a_long_line_the_part_that_differs_is_shown() -> None:
    one, other = (out(b"x" * 500 + each + b"y" * 500 + b"\n") for each in (b"1", b"2"))
    shown = list(comparison_lines(compared(one, other)))
    assert f'recorded …"{"x" * 40}1{"y" * 79}"…' in shown[3]
