"""Late viewers see the screen that those who were there see."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.viewers.replay import (
    EVENT_BYTES,
    HEAD_BYTES,
    Action,
    Exit,
    Marker,
    Output,
    Player,
    Resize,
    Screen,
    clears,
    has_clear,
    head_of,
    screen,
)
from ptyshipper.records import GapCause, Kind, encode
from tests.support.emulator import Emulator
from tests.support.server import exit_record, output, start_record
from tests.support.terminal import Terminal

COLS, ROWS = 80, 24


def actions_of(*parts: bytes) -> list[Action]:
    player = Player()
    return [action for part in parts for action in player.feed(part)]


def shown(seen: Screen) -> Emulator:
    emulator = Emulator(seen.cols, seen.rows)
    emulator.feed(seen.text)
    play(emulator, seen.actions)
    return emulator


def play(emulator: Emulator, actions: list[Action]) -> None:
    for action in actions:
        if isinstance(action, Output):
            emulator.feed(action.text)
        elif isinstance(action, Resize):
            emulator.resize(action.cols, action.rows)


def test_records_are_what_a_terminal_does() -> None:
    """Output in one piece, whatever its records were; sizes that are none are left out."""
    assert actions_of(
        start_record(100, 30)
        + output(b"a\xe2\x82", Kind.TTY)
        + output(b"\xacb", Kind.TTY)
        + encode(Kind.RESIZED, 1, records.resized(0, 0))
        + encode(Kind.RESIZED, 1, records.resized(9, 8))
        + encode(Kind.SIGNALLED, 2, records.signalled(15))
        + encode(Kind.GAP, 3, records.gap(33, 30, GapCause.OVERFLOW))
        + exit_record(0, 9)
    ) == [
        Resize(100, 30),
        Output("a€b"),
        Resize(9, 8),
        Marker("SIGTERM sent"),
        Marker("30 bytes lost: the spool was full"),
        Exit(137),
    ]


def test_pipes_get_the_returns_that_a_terminal_would_have_made() -> None:
    assert actions_of(output(b"a\r\nb\n") + output(b"c\n", Kind.STDERR)) == [
        Output("a\r\nb\r\nc\r\n")
    ]


@given(st.binary(min_size=1, max_size=40), st.data())
def test_character_is_never_cut(said: bytes, data: st.DataObject) -> None:
    """Wherever the records are: each event is text by itself, and all of them are what was said."""
    said += b"."  # what is half a character by then waits for its end no longer
    cuts = sorted({0, len(said), *data.draw(st.sets(st.integers(0, len(said))))})
    parts = [output(said[a:b], Kind.TTY) for a, b in itertools.pairwise(cuts)]
    texts = [action.text for action in actions_of(*parts) if isinstance(action, Output)]
    assert "".join(texts) == said.decode("utf-8", "replace")


def test_event_has_a_size() -> None:
    """Both many bytes and many records make more than one."""
    for parts in ([output(b"x" * 60_000, Kind.TTY)] * 3, [output(b"x", Kind.TTY)] * 3_000):
        actions = actions_of(b"".join(parts))
        assert len(actions) == 3
        assert all(isinstance(a, Output) and len(a.text) <= EVENT_BYTES for a in actions)


def test_size_before_the_first_output_is_the_screen_s() -> None:
    """A later one is done when it was: what was written before was written on the other size."""
    actions = actions_of(
        start_record(20, 5)
        + output(b"x" * 30, Kind.TTY)
        + encode(Kind.RESIZED, 1, records.resized(40, 5))
        + output(b"y", Kind.TTY)
    )
    assert screen(actions, 80, 24, is_whole=True) == Screen(
        20, 5, "x" * 30, [Resize(40, 5), Output("y")]
    )


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("torn \x1b[H\x1b[2Jclean", "\x1b[H\x1b[2Jclean"),
        ("torn\x1b[2J\x1b[Hclean\x1b[2Jagain", "\x1b[2J\x1b[Hclean\x1b[2Jagain"),
        ("torn\x1b[H\x1b[Jclean", "\x1b[H\x1b[Jclean"),
        ("torn\x1b[?1049hvim", "\x1b[?1049hvim"),
        ("torn\x1bcclean", "\x1bcclean"),
        ("torn\none\ntwo", "one\ntwo"),
        ("torn\x1b[Jmore", "torn\x1b[Jmore"),
    ],
)
def test_what_is_not_whole_begins_where_the_screen_is_known(written: str, left: str) -> None:
    assert screen([Output(written)], COLS, ROWS, is_whole=False).text == left
    assert screen([Output(written)], COLS, ROWS, is_whole=True).text == written


def test_what_was_drawn_once_is_drawn_before_the_end() -> None:
    """From the last clearing on, cut at a sequence; the end begins where the cursor's place is known."""
    drawn = "old\x1b[2J\x1b[HTITLE\r\n" + "\x1b[2;1Hx" * HEAD_BYTES
    head = head_of([Output("x\x1b[2J"), Output(drawn)])
    assert head.startswith("\x1b[2J\x1b[HTITLE")
    assert HEAD_BYTES - 10 < len(head) <= HEAD_BYTES
    assert head.endswith("\x1b[2;1Hx")
    seen = screen([Output("torn\n\x1b[2;1Hy")], COLS, ROWS, is_whole=False, head=head)
    assert seen.text == head + "\x1b[2;1Hy"
    assert head_of([Output("no clearing")]) == ""


def test_clearing_is_found_in_records() -> None:
    assert has_clear(output(b"a\x1b[H\x1b[Jb", Kind.TTY))
    assert not has_clear(output(b"a\x1b[Jb", Kind.TTY))


Step = tuple[bytes, bytes]
"""What is typed, and what is shown then."""

_VIM: list[Step] = [
    (b"\x06", b"\x1b["),
    (b":split\r", b"service-"),
    (b"\x17j", b"\x1b["),
    (b"G", b"\x1b["),
    (b"gg", b"\x1b["),
    (b"ihello\x1b", b"hello"),
    (b":only!\r", b"\x1b["),
    (b":echo 'so' . 'far'\r", b"sofar"),
]
SESSIONS: dict[str, tuple[list[str], list[Step], int, bool]] = {
    "bash": (
        ["bash", "--norc", "-i"],
        [
            (b"ls --color=always /usr/bin | head -200; echo o$((1))\r", b"o1"),
            (b"seq 1 2000; echo o$((2))\r", b"o2"),
            (b"clear; echo o$((3))\r", b"o3"),
            (b"printf '\\033[31mred\\033[0m\\n'; echo a b\x7fd; echo o$((4))\r", b"o4"),
        ],
        8_192,
        True,
    ),
    "vim": (["vim", "-u", "NONE", "-N", "-n", "services"], _VIM * 6, 16_384, True),
    # Its help clears the screen, before and after; else it writes what has changed.
    "top": (
        ["top", "-d", "0.1"],
        [*[(b"", b"\x1b[H")] * 3, (b"h", b"Help"), (b"q", b"load average")] * 10,
        12_288,
        False,
    ),
}
"""Each with how much of its end a late viewer gets, less than there is, and whether the screen is right
also where it was not cleared within that."""


@pytest.mark.parametrize("name", SESSIONS)
def test_late_viewer_sees_the_same_screen(name: str, tmp_path: Path) -> None:
    """Cell by cell, colours and cursor, wherever one joins; and so it stays."""
    argv, steps, window, is_always_right = SESSIONS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is missing")
    environ = {**os.environ, "TERM": "xterm-256color", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
    services = "".join(f"service-{number}\t{number}/tcp\t# of them\n" for number in range(2_000))
    (tmp_path / "services").write_text(services)
    with Terminal(argv, environ, rows=ROWS, cols=COLS, cwd=str(tmp_path)) as terminal:
        for keys, sign in steps:
            terminal.type(keys)
            terminal.expect(sign)
        text = terminal.shown.decode("utf-8", "replace")
    assert len(text) > window, "otherwise all of it would be written again"
    compared = 0
    for at in range(1, 9):
        joined = len(text) * at // 8
        whole, rest = Emulator(COLS, ROWS), [Output(text[joined:])]
        whole.feed(text[:joined])
        end = [Output(text[max(0, joined - window) : joined])]
        is_whole = joined <= window
        head = "" if is_whole or clears([*end]) else head_of([Output(text[: joined - window])])
        if not (is_always_right or is_whole or clears([*end])):
            continue
        compared += 1
        late = shown(screen([*end], COLS, ROWS, is_whole=is_whole, head=head))
        assert late.cells() == whole.cells(), f"joined at {joined} of {len(text)}"
        play(late, [*rest])
        play(whole, [*rest])
        assert late.cells() == whole.cells(), f"joined at {joined} of {len(text)}, at the end"
    assert compared >= 4
