"""In place of ``shutil``: ``argparse`` asks how wide the terminal is. ptyprocess wants ``which`` and has
one of its own where there is none."""

from __future__ import annotations

import os


def get_terminal_size() -> os.terminal_size:
    try:
        return os.get_terminal_size(1)
    except OSError:
        return os.terminal_size((80, 24))
