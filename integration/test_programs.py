"""Real programs in a real terminal (tmux): the same screen, bare and wrapped, key by key."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.server import Server
from tests.support.tmux import Tmux
from tests.support.wrapping import (
    BARE_ENVIRON,
    LOG_SHIPPER,
    latest_session,
    run,
    shipping_environ,
    stored_output,
)

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Step(NamedTuple):
    """Keys to press, and what the screen then shows; ``asks`` are pressed until it does.

    A program on whose screen nothing tells that it has seen a resize has to be asked: the keys of the
    next step may overtake the resize.
    """

    keys: tuple[str, ...]
    shows: str
    asks: tuple[str, ...] = ()


def play(
    command: list[str], steps: list[Step], tmp_path: Path, environ: dict[str, str], name: str
) -> Iterator[str]:
    tmux = Tmux(tmp_path / f"{name}.sock", shlex.join(command), environ, tmp_path)
    try:
        for step in steps:
            if step.keys[:1] == ("resize",):
                tmux.resize(70, 20)
            elif step.keys:
                tmux.keys(*step.keys)
            tmux.shows(step.shows, step.asks)
            yield tmux.screen()
    finally:
        tmux.close()


PROGRAMS: dict[str, tuple[list[str], list[Step]]] = {
    "bash": (
        ["env", "PS1=READY>", "bash", "--norc", "--noprofile", "-i"],
        [
            Step((), r"READY>"),
            Step(("echo $((6*7)) $LINES $COLUMNS", "Enter"), r"42 28 90"),
            Step(("sleep 60", "Enter"), r"sleep 60"),
            Step(("C-z",), r"Stopped"),
            Step(("jobs; kill %1; fg", "Enter"), r"Terminated"),
            Step(("C-l", "ech", "Tab", " hi", "Enter"), r"\nhi\n"),
            Step(("resize",), r"READY>"),
            Step(("echo size $LINES $COLUMNS", "Enter"), r"size 20 70"),
            Step(("exit 5", "Enter"), r"ended with 5"),
        ],
    ),
    "python": (
        [sys.executable, "-I", "-q"],
        [
            Step((), r">>>"),
            Step(("2**100", "Enter"), r"1267650600228229401496703205376"),
            Step(("1/0", "Enter"), r"ZeroDivisionError"),
            Step(("import time; time.sleep(60)", "Enter"), r"sleep"),
            Step(("C-c",), r"KeyboardInterrupt"),
            Step(("raise SystemExit(3)", "Enter"), r"ended with 3"),
        ],
    ),
    "vim": (
        ["vim", "-u", "NONE", "-N", "-i", "NONE", "-n", "text"],
        [
            Step((), r"line 1\b"),
            Step(("G", "o", "typed in vim", "Escape"), r"typed in vim"),
            Step(("resize",), r"typed in vim[\s\S]*columns=70", asks=(":set columns?", "Enter")),
            Step((":set number", "Enter", "gg"), r"1.*line 1\b"),
            Step((":wq", "Enter"), r"ended with 0"),
        ],
    ),
    "less": (
        ["less", "text"],
        [
            Step((), r"line 1\b"),
            Step(("Space",), r"line 40\b"),
            Step(("/line 77", "Enter"), r"line 77\b"),
            Step(("G",), r"line 200\b"),
            Step(("q",), r"ended with 0"),
        ],
    ),
    "dd": (
        ["sh", "-c", "dd if=/dev/zero bs=1k count=7 2>&1 | sed s/,.*//"],
        [Step((), r"7\+0 records out[\s\S]*ended with 0")],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_screen_is_the_same(tmp_path: Path, server: Server, name: str) -> None:
    argv, steps = PROGRAMS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"needs {argv[0]}")
    screens = {}
    environ = shipping_environ(server, tmp_path / "spool")
    for how, wrapper, env in (("bare", [], BARE_ENVIRON), ("wrapped", LOG_SHIPPER, environ)):
        (tmp_path / "text").write_text("".join(f"line {n}\n" for n in range(1, 201)))
        screens[how] = list(play([*wrapper, *argv], steps, tmp_path, env, how))
    assert screens["wrapped"] == screens["bare"]


def test_top_runs_and_leaves_the_screen(tmp_path: Path, server: Server) -> None:
    environ = shipping_environ(server, tmp_path / "spool")
    steps = [
        Step((), r"PID +USER"),
        Step(("resize",), r"PID +USER"),
        Step(("q",), r"ended with 0"),
    ]
    screens = list(play([*LOG_SHIPPER, "top", "-d", "0.3"], steps, tmp_path, environ, "top"))
    assert screens[1].count("\n") == 20


def test_tmux_inside(tmp_path: Path, server: Server) -> None:
    inner = [
        "env",
        "-u",
        "TMUX",
        "tmux",
        "-S",
        str(tmp_path / "inner.sock"),
        "-f",
        "/dev/null",
        "new",
        "-n",
        "inner",
        "cat",
    ]
    steps = [
        Step((), r"0:inner"),
        Step(("hello", "Enter"), r"hello\nhello"),
        Step(("resize",), r"0:inner"),
        Step(("C-d",), r"\[exited\][\s\S]*ended with 0"),
    ]
    screens = []
    for how, wrapper, env in (
        ("bare", [], BARE_ENVIRON),
        ("wrapped", LOG_SHIPPER, shipping_environ(server, tmp_path / "spool")),
    ):
        shown = list(play([*wrapper, *inner], steps, tmp_path, env, how))
        screens.append([re.sub(r'"[^"]*" \d\d:\d\d \S+', "", screen) for screen in shown])
    assert screens[1] == screens[0]


def test_a_progress_bar_is_drawn_as_bare(tmp_path: Path, server: Server) -> None:
    """pip's own bar, from the library that pip carries."""
    program = (
        "from pip._vendor.rich.progress import track\n"
        "import time\n"
        "for n in track(range(20), description='Downloading'): time.sleep(0.02)\n"
        "print('over')\n"
    )
    (tmp_path / "bar.py").write_text(program)
    python = next((p for p in (sys.executable, shutil.which("python3")) if p and has_pip(p)), None)
    if python is None:
        pytest.skip("needs pip")
    for how, wrapper, env in (
        ("bare", [], BARE_ENVIRON),
        ("wrapped", LOG_SHIPPER, shipping_environ(server, tmp_path / "spool")),
    ):
        steps = [Step((), r"over[\s\S]*ended with 0")]
        bar = [*wrapper, python, "-W", "ignore", "bar.py"]
        (screen,) = play(bar, steps, tmp_path, env, how)
        assert re.search(r"Downloading .*━.*100%", screen), screen


def has_pip(python: str) -> bool:
    return (
        run(
            [python, "-W", "ignore", "-c", "import pip._vendor.rich.progress"], BARE_ENVIRON
        ).returncode
        == 0
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: ["dd", "if=/dev/zero", "bs=64k", "count=40", "status=none"],
        lambda: ["sh", "-c", "yes | head -n 100000"],
        lambda: ["seq", "200000"],
        lambda: [
            sys.executable,
            "-c",
            "import os\nfor n in range(3000): os.write(1+n%2, b'%d\\0\\xff' % n)",
        ],
    ],
    ids=["dd", "yes-head", "seq", "binary"],
)
def test_the_bytes_are_the_same(
    tmp_path: Path, server: Server, make: Callable[[], list[str]]
) -> None:
    argv = make()
    bare = run(argv, BARE_ENVIRON)
    wrapped = run([*LOG_SHIPPER, *argv], shipping_environ(server, tmp_path / "spool"))
    assert (wrapped.returncode, wrapped.stdout, wrapped.stderr) == (
        bare.returncode,
        bare.stdout,
        bare.stderr,
    )
    stored = stored_output(server, latest_session(server))
    assert (stored["stdout"], stored["stderr"]) == (bare.stdout, bare.stderr)
