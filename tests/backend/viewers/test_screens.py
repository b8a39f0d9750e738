"""Late viewers see the screen that those who were there see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptyshipper.backend.viewers import screens
from ptyshipper.backend.viewers.replay import Action, Exit, Marker, Output, Resize
from ptyshipper.backend.viewers.screens import Screen, Screens, has_clear, last_switch
from ptyshipper.records import Kind
from tests.support.emulator import Emulator
from tests.support.server import output
from tests.support.terminal import Terminal

COLS, ROWS = 80, 24


def seen(actions: Sequence[Action], *, is_start: bool = True) -> Screens:
    made = Screens(is_start=is_start)
    for action in actions:
        made.feed(action)
    return made


def shown(screen: Screen) -> Emulator:
    emulator = Emulator(screen.cols, screen.rows)
    emulator.feed(screen.text)
    play(emulator, screen.actions)
    return emulator


def play(emulator: Emulator, actions: Sequence[Action]) -> None:
    for action in actions:
        if isinstance(action, Output):
            emulator.feed(action.text)
        elif isinstance(action, Resize):
            emulator.resize(action.cols, action.rows)


PIECES = st.sampled_from(
    [
        "$ ls\r\n", "one two\r\n", "\r\n" * 5, "x" * 30, "\t", "\b",
        "\x1b[31m", "\x1b[1;44m", "\x1b[m", "\x1b[0;7m",
        "\x1b[H\x1b[2J", "\x1b[2J\x1b[H", "\x1b[H\x1b[J", "\x1b[2J", "\x1b[J", "\x1b[K",
        "\x1b[3;4H", "\x1b[5;1Hstatus", "\x1b[A", "\x1bM",
        "\x1b[2;4r", "\x1b[r", "\x1b[?7l", "\x1b[?7h", "\x1b[4h", "\x1b[4l", "\x1b[?25l", "\x1b[?6l",
        "\x1b[?1049h", "\x1b[?1049l", "\x1b[?1049h\x1b[H\x1b[2J", "\x1b[?47h", "\x1b[?47l", "\x1bc",
    ]
)  # fmt: skip
PARTS = st.lists(st.lists(PIECES, min_size=1, max_size=8), max_size=12)


def balanced(parts: list[list[str]]) -> list[Action]:
    """Without switches to the screen that is there, and back from one that another switch led to: they
    move the cursor in ways that terminals do not agree upon."""
    entered, made = "", list[Action]()
    for pieces in parts:
        kept = list[str]()
        for piece in pieces:
            mode = piece[2:-1] if piece.endswith(("h", "l")) else ""
            if piece.startswith(("\x1b[?1049h", "\x1b[?47h")):
                if entered:
                    continue
                entered = piece.split("h")[0][2:]
            elif mode in ("?1049", "?47"):
                if entered != mode:
                    continue
                entered = ""
            elif piece == "\x1bc":
                entered = ""
            kept.append(piece)
        made.append(Output("".join(kept)))
    return made


@settings(max_examples=400, deadline=None)
@given(PARTS, st.integers(0, 12))
def test_screen_is_that_of_all_that_was_written(parts: list[list[str]], joined: int) -> None:
    """Cell by cell, colours and cursor: by now, and whatever is written then."""
    actions = balanced(parts)
    before, after = actions[:joined], actions[joined:]
    whole, late = Emulator(12, 6), shown(seen(before).screen(12, 6))
    play(whole, before)
    assert late.cells() == whole.cells()
    play(whole, after)
    play(late, after)
    assert late.cells() == whole.cells()


def test_what_can_t_be_seen_any_more_is_not_sent() -> None:
    """What was cleared, and all of the alternate screen that was left."""
    text = (
        "old\x1b[31m\x1b[?7l\x1b[H\x1b[2Jshell\r\n"
        "\x1b[?1049hvim\x1b[?1h\x1b[Hmuch\x1b[?1l\x1b[?1049l"
        "$ top\r\n\x1b[?1049h\x1b[Hfirst\x1b[?25l\x1b[H\x1b[2Jsecond"
    )
    assert seen([Output(text)]).screen(COLS, ROWS).text == (
        "\x1b[?7l\x1b[31m\x1b[H\x1b[2Jshell\r\n"
        "\x1b[?1049h\x1b[?1l\x1b[?1049l"
        "$ top\r\n\x1b[?1049h\x1b[?25l\x1b[H\x1b[2Jsecond"
    )


def test_what_happened_elsewhere_leaves_no_trace() -> None:
    made = seen([Output("x"), Marker("SIGTERM sent"), Exit(0), Output("y")])
    assert made.screen(COLS, ROWS) == Screen(COLS, ROWS, "xy", [])


def test_size_before_the_first_output_is_the_screen_s() -> None:
    """A later one is done when it was: what was written before was written on the other size."""
    actions = [Resize(20, 5), Output("x" * 30), Resize(39, 5), Resize(40, 5), Output("y")]
    assert seen(actions).screen(80, 24) == Screen(20, 5, "x" * 30, [Resize(40, 5), Output("y")])
    cleared = [*actions, Output("\x1b[H\x1b[2Jz")]
    assert seen(cleared).screen(80, 24) == Screen(40, 5, "\x1b[H\x1b[2Jz", [])


def test_size_that_changed_on_the_alternate_screen_stays() -> None:
    actions = [Output("a\x1b[?1049hb"), Resize(40, 5), Output("c\x1b[?1049ld")]
    screen = seen(actions).screen(80, 24)
    assert screen == Screen(
        80, 24, "a\x1b[?1049h", [Resize(40, 5), Output("\x1b[?1049l"), Output("d")]
    )


@pytest.mark.parametrize(
    ("written", "is_known"),
    [
        ("lines\r\n", False),
        ("\x1b[H\x1b[2J", False),  # on which screen?
        ("\x1bc", True),
        ("\x1b[?1049h", False),  # the shell is to come back
        ("\x1b[H\x1b[2J\x1b[?1049h", True),
        ("\x1b[?1049l$ ", False),
        ("\x1b[?1049l\x1b[H\x1b[2J", True),
    ],
)
def test_what_was_before_may_matter(written: str, is_known: bool) -> None:
    assert seen([Output(written)], is_start=False).is_known is is_known
    assert seen([Output(written)]).is_known


def test_of_too_much_the_beginning_and_the_end_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn once comes back, and the modes that were set in what is left out."""
    monkeypatch.setattr(screens, "REPLAY_BYTES", 1_000)
    monkeypatch.setattr(screens, "HEAD_BYTES", 400)
    frames = [Output(f"\x1b[2;1Hframe {number}\x1b[K") for number in range(400)]
    drawn = [Output("\x1b[H\x1b[2JTITLE"), *frames[:200], Output("\x1b[?7l\x1b[35m"), *frames[200:]]
    screen = seen(drawn).screen(COLS, ROWS)
    assert len(screen.text) < 1_500
    assert "\x1b[?7l\x1b[35m" in screen.text
    whole = Emulator(COLS, ROWS)
    play(whole, drawn)
    assert shown(screen).cells() == whole.cells()


def test_lines_without_end_are_sent_from_the_beginning_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(screens, "REPLAY_BYTES", 1_000)
    monkeypatch.setattr(screens, "HEAD_BYTES", 100)
    for is_start in (True, False):
        lines = [Output(f"line {number}\r\n") for number in range(1_000)]
        screen = seen(lines, is_start=is_start).screen(20, 10)
        whole = Emulator(20, 10)
        play(whole, lines)
        assert shown(screen).cells() == whole.cells()
        assert len(screen.text) < 1_200


def test_head_is_fed_before_what_is_skipped() -> None:
    made = seen([Output("x\x1b[?1049h\x1b[H\x1b[2JTITLE\x1b[2;1Hcut\x1b[")], is_start=False)
    made.skip()
    made.feed(Output("rn\x1b[2;1Hlast"))
    text = made.screen(COLS, ROWS).text
    assert text.endswith("\x1b[?1049h\x1b[H\x1b[2JTITLE\x1b[2;1Hcut\x1b[2;1Hlast")


def test_hostile_output_takes_no_more_than_it_may() -> None:
    """Whatever is switched and set, without end."""
    made = Screens(is_start=True)
    for number in range(300):
        sizes = [Resize(number % 7 + 1, 3), Output("x"), Resize(9, 9)]
        made.feed(Output("".join(f"\x1b[?{n}h" for n in range(number * 200, number * 200 + 9_000))))
        made.feed(Output("\x1b[?1049h\x1b[?1049l" * 3_000))
        for size in sizes:
            made.feed(size)
    screen = made.screen(COLS, ROWS)
    size = len(screen.text) + sum(len(a.text) for a in screen.actions if isinstance(a, Output))
    assert size < screens.REPLAY_BYTES + screens.HEAD_BYTES + 100_000


@pytest.mark.parametrize(
    "text", ["\x1b[?1049hx\x1b[?1049ly", "\x1b[?1049hx\x1bcy", "y\x1b[?1049l", "x\x1b[?1049h"]
)
def test_switches_without_end_lead_where_they_lead(text: str) -> None:
    whole = Emulator(20, 5)
    actions = [Output("begin"), Output(text * 300), Output("\x1b[3;3Hz"), Output("\x1b[?1049l!")]
    play(whole, actions)
    late = shown(seen(actions).screen(20, 5))
    assert late.cells() == whole.cells()


def test_switches_and_clearings_are_found_in_records() -> None:
    assert last_switch(output(b"a\x1b[?1049hb\x1b[?47lc", Kind.TTY)) == "\x1b[?47l"
    assert last_switch(output(b"a\x1b[H\x1b[2J", Kind.TTY)) == ""
    assert has_clear(output(b"a\x1b[H\x1b[Jb", Kind.TTY))
    assert has_clear(output(b"a\x1b[?1049hb", Kind.TTY))
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
SESSIONS: dict[str, tuple[list[str], list[Step], int]] = {
    "bash": (
        ["bash", "--norc", "-i"],
        [
            (b"ls --color=always /usr/bin | head -200; echo o$((1))\r", b"o1"),
            (b"seq 1 2000; echo o$((2))\r", b"o2"),
            (b"clear; echo o$((3))\r", b"o3"),
            (b"printf '\\033[31mred\\033[0m\\n'; echo a b\x7fd; echo o$((4))\r", b"o4"),
        ],
        8_192,
    ),
    "vim": (["vim", "-u", "NONE", "-N", "-n", "services"], _VIM * 6, 16_384),
    # Its help clears the screen, before and after; else it writes what has changed.
    "top": (
        ["top", "-d", "0.1"],
        [*[(b"", b"\x1b[H")] * 3, (b"h", b"Help"), (b"q", b"load average")] * 10,
        12_288,
    ),
}
"""Each with how much of its end a late viewer gets, less than there is."""


@pytest.mark.parametrize("name", SESSIONS)
def test_late_viewer_of_a_program_sees_the_same_screen(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell by cell, colours and cursor, wherever one joins; and so it stays."""
    argv, steps, window = SESSIONS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is missing")
    monkeypatch.setattr(screens, "REPLAY_BYTES", window)
    environ = {**os.environ, "TERM": "xterm-256color", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
    services = "".join(f"service-{number}\t{number}/tcp\t# of them\n" for number in range(2_000))
    (tmp_path / "services").write_text(services)
    with Terminal(argv, environ, rows=ROWS, cols=COLS, cwd=str(tmp_path)) as terminal:
        for keys, sign in steps:
            terminal.type(keys)
            terminal.expect(sign)
        text = terminal.shown.decode("utf-8", "replace")
    assert len(text) > window, "otherwise all of it would be written again"
    for at in range(1, 9):
        joined = len(text) * at // 8
        whole, rest = Emulator(COLS, ROWS), Output(text[joined:])
        whole.feed(text[:joined])
        pieces = [Output(text[n : min(n + 1_000, joined)]) for n in range(0, joined, 1_000)]
        late = shown(seen(pieces).screen(COLS, ROWS))
        assert late.cells() == whole.cells(), f"joined at {joined} of {len(text)}"
        play(late, [rest])
        play(whole, [rest])
        assert late.cells() == whole.cells(), f"joined at {joined} of {len(text)}, at the end"
