"""What ``make demo`` wraps: colours, a progress bar as wide as the window, a failure at the end.

It knows nothing of ptyshipper. Exit status 3.
"""

from __future__ import annotations

import os
import signal
import sys
import time

STEPS = 48
STEP_S = 0.05
EXIT_STATUS = 3

BOLD, DIM, RED, GREEN, YELLOW, CYAN, PLAIN = (f"\x1b[{code}m" for code in (1, 2, 31, 32, 33, 36, 0))


def show(text: str, end: str = "\n") -> None:
    os.write(1, (text + end).encode())


def bar(step: int, columns: int) -> str:
    """A line of exactly the window's width, less the last column, where a terminal would wrap."""
    label = f" {100 * step // STEPS:3d}%"
    width = max(4, columns - len(label) - 10)
    full = width * step // STEPS
    return (
        f"\r  upload {CYAN}{'█' * full}{DIM}{'░' * (width - full)}{PLAIN}{BOLD}{label}{PLAIN}\x1b[K"
    )


def size() -> os.terminal_size:
    try:
        return os.get_terminal_size(1)
    except OSError:
        return os.terminal_size((72, 24))  # no terminal


def main() -> int:
    window = size()
    resized = False

    def note(*_: object) -> None:
        nonlocal window, resized
        window, resized = size(), True

    signal.signal(signal.SIGWINCH, note)
    show(f"{BOLD}deploy{PLAIN} of {CYAN}shop{PLAIN}, window {window.columns} x {window.lines}")
    for what, took in (("fetch sources", "0.2 s"), ("compile 214 modules", "0.3 s")):
        time.sleep(0.25)
        show(f"  {GREEN}✓{PLAIN} {what} {DIM}{took}{PLAIN}")
    for step in range(STEPS + 1):
        if resized:
            resized = False
            show(f"\r\x1b[K  {YELLOW}!{PLAIN} the window is now {window.columns} x {window.lines}")
        show(bar(step, window.columns), end="")
        time.sleep(STEP_S)
    show("")
    os.write(2, f"  {RED}✗ health check: 503 Service Unavailable{PLAIN}\n".encode())
    return EXIT_STATUS


if __name__ == "__main__":
    sys.exit(main())
