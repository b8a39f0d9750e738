"""Lines that were written over: what a terminal would show, and never more work than the line is long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.printed.cells import settled


@pytest.mark.parametrize(
    ("printed", "left"),
    [
        ("10%\r50%\r100%", "100%"),
        ("line\r", "line"),
        ("a\r\r", "a"),
        ("", ""),
        ("\r", ""),
        ("important data\rX", "Xmportant data"),
        ("important data\rX\x1b[K", "X"),
        ("important data\r\x1b[0Kshort", "short"),
        ("old text\x1b[2K\rnew", "new"),
        ("important data\r\x1b[Jshort", "short"),
        ("abcdef\rab\x1b[1J", "   def"),
        ("abcdef\rab\x1b[1K", "   def"),
        ("a\tb\rX", "X       b"),
        ("abc\r\tX", "abc     X"),
        ("日本\rX", "X 本"),
        ("日本\r X", " X本"),
        ("abcd\r日", "日cd"),
        ("a日\rbc", "bc "),
        ("e\u0301x\ra", "ax"),
        ("xe\u0301\ra", "ae\u0301"),
        ("no return \x1b[31mred", "no return \x1b[31mred"),
        ("\x1b]0;title\x07ab\rX", "Xb"),
        ("working |\b/\b-", "working -"),
        ("\b\bx", "x"),
        ("50%\x1b[1G100%", "100%"),
        ("50%\x1b[G\x1b[K7%", "7%"),
        ("abc\x1b[2DX", "aXc"),
        ("abc\x1b[99999DX", "Xbc"),
        ("a\x1b[3Cb", "a   b"),
        ("a\x1b[99999Cb", "a" + " " * 1023 + "b"),
    ],
)
def test_what_is_left(printed: str, left: str) -> None:
    assert settled(printed) == left


def test_each_cell_keeps_its_colour() -> None:
    assert settled("\x1b[31mred\x1b[0m plain\r\x1b[32mX") == (
        "\x1b[32mX\x1b[0m\x1b[31med\x1b[0m plain"
    )
    assert settled("\x1b[1m\x1b[32m10%\r\x1b[32m20%") == "\x1b[1m\x1b[32m20%"
    assert settled("\x1b[01;31mab\x1b[;4mc\r") == "\x1b[01;31mab\x1b[;4mc"
    assert settled("\x1b[01;31mab\x1b[;4mc\rab") == "\x1b[;4mabc"


@given(st.text(alphabet="abé日\u0301\r\t \x1b[;01mK", max_size=60))
def test_no_return_is_left_of_any_line(printed: str) -> None:
    assert "\r" not in settled(printed)


@pytest.mark.parametrize(
    "unit",
    [
        "\t",
        "\u0301",
        "\x1b[31mx",
        "x\r",
        "\x1b]",
        "\x1b[1;",
        "日",
        "\x1b[2K\t",
        "\b",
        "\x1b[2K\x1b[999C",
    ],
)
def test_hostile_line_takes_no_more_than_its_length(unit: str) -> None:
    """A million bytes of it: quadratic work would take minutes."""
    begun_s = time.monotonic()
    shown = settled("x" + unit * (1_000_000 // len(unit.encode())) + "\rX")
    assert len(shown) < 20_000_000
    assert time.monotonic() - begun_s < 8
