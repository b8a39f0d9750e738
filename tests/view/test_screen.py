"""The watcher's filter: whatever comes, in whatever pieces, only what is known passes."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptyshipper.view.screen import ENTER, LEAVE, ScreenFilter

# An independent statement of what may pass: text, moves, and a closed list of sequences.
SAFE = re.compile(
    r"""(?x)(?:
      [\x07-\x0f\x20-\x7e\xa0-\U0010ffff]
    | \x1b [78DEHM]
    | \x1b [()*+] [0-9A-Z<=>]
    | \x1b \# 8
    | \x1b \[ [0-9;:]* [@A-HIKLMPSTXZ`abdefgmrsu]
    | \x1b \[ \?? [012]? J
    | \x1b \[ \? [0-9;:]* K
    | \x1b \[ [0-9;:]* (?: \x20 q | ! p )
    | \x1b \[ (?:4|20) (?:;(?:4|20))* [hl]
    | \x1b \[ \? (?:5|6|7|12|25|45|69|1048|2026) (?:;(?:5|6|7|12|25|45|69|1048|2026))* [hl]
    )*"""
)
# Pieces that hostile sequences are made of, so that random ones come close.
_BYTES = b"\x1b[]P_^X?>=!$ 6;:ncqpthlmRxZ\\\x00\x05\x07\x18\x1a\x7f\x9b\x9d\xc2\xff"
_WORDS = [
    b"1049",
    b"52;c;",
    b"0;t",
    b"\xc2\x9b",
    b"\xe2\x82\xac",
    b"\r\n",
    b"#8",
    b"(0",
    b"9" * 300,
]
PIECES = st.lists(st.sampled_from([*(bytes([byte]) for byte in _BYTES), *_WORDS]), max_size=30).map(
    b"".join
)


def shown(*pieces: bytes) -> bytes:
    screen = ScreenFilter()
    return b"".join(screen.feed(piece) for piece in pieces)


@given(PIECES | st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=8))
@example(b"\x1b[" + b"9" * 300 + b"m", [])
@example(b"\x1b[" + b"9" * 253 + b"m", [])
@example(b"\x1b[" + b"9" * 254 + b"m", [])
@example(b"\x1b" + b" " * 300 + b"F", [])
@example(b"\x1b]0;x\x1b\\seen", [6])
@example(b"\x1bPx\x1b[6nseen", [4])
@example(b"\x1b\x1b]52;c;x\x1b\x1b\\\x1b[6n", [1, 2, 3])
def test_nothing_dangerous_passes_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    """And how it is cut makes no difference."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    passed = shown(*pieces)
    assert SAFE.fullmatch(passed.decode())
    assert passed == shown(data)
    assert passed == shown(*(data[at : at + 1] for at in range(len(data))))


@pytest.mark.parametrize(
    "asking",
    [
        pytest.param(b"\x1b[c", id="primary attributes"),
        pytest.param(b"\x1b[>c", id="secondary attributes"),
        pytest.param(b"\x1b[=c", id="tertiary attributes"),
        pytest.param(b"\x1bZ", id="DECID"),
        pytest.param(b"\x1b[5n", id="status"),
        pytest.param(b"\x1b[6n", id="cursor position"),
        pytest.param(b"\x1b[?6n", id="extended cursor position"),
        pytest.param(b"\x1b[x", id="terminal parameters"),
        pytest.param(b"\x1b[?25$p", id="mode query"),
        pytest.param(b"\x1b[>q", id="version"),
        pytest.param(b"\x1b[18t", id="window size"),
        pytest.param(b"\x1b[21t", id="title report"),
        pytest.param(b"\x1b[?u", id="keyboard query"),
        pytest.param(b"\x1b[>1u", id="keyboard mode"),
        pytest.param(b"\x05", id="answerback"),
        pytest.param(b"\x1bP$qm\x1b\\", id="setting query"),
        pytest.param(b"\x1bP+q544e\x1b\\", id="termcap query"),
        pytest.param(b"\x1b]0;title\x07", id="title"),
        pytest.param(b"\x1b]52;c;ZXZpbA==\x07", id="clipboard"),
        pytest.param(b"\x1b]52;c;?\x1b\\", id="clipboard query"),
        pytest.param(b"\x1b]11;?\x1b\\", id="colour query"),
        pytest.param(b"\x1b]8;;http://x\x1b\\", id="link"),
        pytest.param(b"\x1b_G\x1b\\", id="APC"),
        pytest.param(b"\x1b^pm\x1b\\", id="PM"),
        pytest.param(b"\x1b[5i", id="printer"),
        pytest.param(b"\x1b[2h", id="keyboard lock"),
        pytest.param(b"\x1b[?1000h\x1b[?1006h", id="mouse"),
        pytest.param(b"\x1b[?2004h", id="bracketed paste"),
        pytest.param(b"\x1b[?1004h", id="focus"),
        pytest.param(b"\x1b>\x1b=", id="keypad"),
        pytest.param("\x9b6n".encode(), id="C1 in UTF-8"),
    ],
)
def test_what_makes_a_terminal_answer_is_taken_out(asking: bytes) -> None:
    """Whole, and the text around it stays."""
    passed = shown(b"before" + asking + b"after")
    assert passed in (
        b"beforeafter",
        b"before6nafter",
    )  # of a C1 control, what was its parameter is text


@pytest.mark.parametrize(
    "drawing",
    [
        b"plain \xc3\xa9 \xe2\x82\xac\r\n\t\x08",
        b"\x1b[1;31mred\x1b[0m\x1b[38;2;1;2;3m\x1b[38:5:1m",
        b"\x1b[2J\x1b[H\x1b[10;20Hx\x1b[K\x1b[3A\x1b[L\x1b[5;20r",
        b"\x1b[?1048h\x1b[?25l\x1b[?7l\x1b[?1048l",
        b"\x1b7\x1b8\x1bM\x1b(0lqk\x1b(B\x1b#8",
        b"\x1b[4 q\x1b[!p\x1b[?2026h",
    ],
)
def test_what_draws_passes_unchanged(drawing: bytes) -> None:
    assert shown(drawing) == drawing


def test_mode_list_keeps_its_known_modes() -> None:
    assert shown(b"\x1b[?1000;25;1006h") == b"\x1b[?25h"


def test_endless_sequence_holds_nothing_back_for_ever() -> None:
    """Neither a CSI without an end nor a string of a megabyte; what follows is seen."""
    assert shown(b"\x1b[" + b"1" * 10_000, b"mtext").endswith(b"text")
    screen = ScreenFilter()
    screen.feed(b"\x1b]0;")
    for _ in range(100):
        assert screen.feed(b"x" * 10_000) == b""
    assert len(screen._waiting) == 0
    assert screen.feed(b"\x07seen") == b"seen"


def test_leaving_undoes_what_was_let_through() -> None:
    """The alternate screen last: the cursor goes back to where it was before."""
    for undone in (
        "\x1b[0m",
        "\x1b[?25h",
        "\x1b[r",
        "\x1b[?7h",
        "\x1b(B",
        "\x1b[?2004l",
        "\x1b[?1000l",
    ):
        assert undone in LEAVE
    assert ENTER.startswith("\x1b[?1049h")
    assert LEAVE.endswith("\x1b[?1049l")


@pytest.mark.parametrize("mode", [b"47", b"1047", b"1049"])
def test_session_does_not_leave_the_screen_that_it_is_shown_on(mode: bytes) -> None:
    """A full-screen program comes and goes, and the rest of a list of modes passes."""
    screen = ScreenFilter()
    assert screen.feed(b"\x1b[?25;" + mode + b"h") == b"\x1b[?25h\x1b7\x1b[2J\x1b[H"
    assert screen.feed(b"\x1b[?" + mode + b"h") == b""
    assert screen.feed(b"\x1b[?" + mode + b"l") == b"\x1b[2J\x1b8"
    assert screen.feed(b"\x1b[?" + mode + b"l") == b"\x1b[2J\x1b[H"


def test_session_erases_nothing_of_its_watchers() -> None:
    """Neither the lines above the screen nor, by a full reset, everything."""
    assert shown(b"\x1b[H\x1b[2J\x1b[3J\x1b[?3J\x1b[03J\x1b[;3J") == b"\x1b[H\x1b[2J"
    assert shown(b"\x1bc") == b"\x1b[!p\x1b[2J\x1b[H"
