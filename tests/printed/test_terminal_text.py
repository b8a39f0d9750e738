"""What is left of what was written to a terminal; more of it in test_lines.py."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.printed.terminal_text import (
    ChangingLine,
    readable,
    unfinished_bytes,
    writes_over,
)


@pytest.mark.parametrize(
    ("data", "cut_off"),
    [(b"abc", 0), (b"abc\x1b", 1), (b"\x1b[", 2), (b"\x1b[1;3", 5), (b"\x1b[1;3m", 0), (b"\x1b(", 2),
     (b"\x1b]0;title", 9), (b"\x1b]0;title\x07", 0), (b"\x1b]0;title\x1b", 10), (b"\x1b7", 0),
     (b"\x1b]" + b"x" * 5_000, 0)],
)  # fmt: skip
def test_how_much_of_a_sequence_is_cut_off(data: bytes, cut_off: int) -> None:
    assert unfinished_bytes(data) == cut_off


@pytest.mark.parametrize(
    ("data", "does"),
    [(b"10%\r", True), (b"|\b", True), (b"\x1b[1G", True), (b"\x1b[2K", False), (b"\x1b[31mx", False)],
)  # fmt: skip
def test_what_writes_over(data: bytes, does: bool) -> None:
    assert writes_over(data) is does


@given(st.text(alphabet="ab日\u0301\r\b\t\x1b[]?;019mGKAH\x07\\\0\x9b", max_size=60))
def test_no_control_is_left_but_tabs(printed: str) -> None:
    left = readable(printed, colours=False)
    assert not [char for char in left if (char < " " and char != "\t") or "\x7f" <= char < "\xa0"]


@given(st.lists(st.sampled_from(["ab", "\r", "\b", "日", "\x1b[K", "\x1b[3G", "x y"]), max_size=20))
def test_a_changing_line_ends_as_if_it_had_come_whole(pieces: list[str]) -> None:
    line = ChangingLine(colours=False)
    for piece in pieces:
        line.feed(piece)
    assert line.text().rstrip() == readable("".join(pieces), colours=False).rstrip()


@pytest.mark.parametrize("unit", ["\x1b]", "\x1b[", "\x1b", "\x1bP", "\x1b[1;", "\x1b]x\x1b"])
def test_hostile_line_takes_no_more_than_its_length(unit: str) -> None:
    begun_s = time.monotonic()
    readable("x" + unit * (500_000 // len(unit)), colours=False)
    unfinished_bytes((unit * 200_000).encode())
    assert time.monotonic() - begun_s < 5
