"""The program does not wait for what it does not need."""

from __future__ import annotations

import subprocess
import sys

from ptyshipper.light import Fields
from tests.support.wrapping import BARE_ENVIRON

HEAVY = [
    "collections",
    "contextlib",
    "enum",
    "functools",
    "pathlib",
    "re",
    "select",
    "signal",
    "struct",
    "termios",
    "typing",
]


def test_nothing_heavy_is_loaded_before_the_fork() -> None:
    """With ``-I -S``: a site's own start-up files may load anything."""
    program = (
        "import sys; sys.path[:0] = sys.argv.pop(1).split('\\n');"
        "import ptyshipper.cli, ptyshipper.agent, ptyshipper.launch, ptyshipper.child.environment;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, "\n".join(sys.path)],
        env=BARE_ENVIRON,
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == b"[]\n"


class Point(Fields):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y


def test_fields_are_compared_and_shown_by_name() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1, 2), Point(1, 2)}) == 1
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
