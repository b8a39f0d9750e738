"""A program that writes a known pseudo-random stream in pieces of random size, and notes what it wrote.

``writer.py --seed N --bytes N [--fds 1,2] [--chunk N] [--pause-ms N] [--side FILE] [--wait FILE]
[--raw] [--exit N]``. What a descriptor gets depends on the seed and its number alone
(``expected``), however the writes were cut. Into the side file goes, after each write(2), a line
with the descriptor and what the call returned. Between writes it sleeps now and then, ``--pause-ms``
on the average; before the exit it waits until the file ``--wait`` exists. ``--raw`` makes its terminal
pass bytes unchanged.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import termios
import time
import tty
from pathlib import Path

BLOCK_BYTES = 65_536


class Stream:
    """The bytes of one descriptor, from the beginning, as many at a time as one likes."""

    def __init__(self, seed: int, fd: int) -> None:
        self._random = random.Random(f"{seed}/{fd}")
        self._block = b""

    def take(self, size: int) -> bytes:
        parts = [self._block]
        held = len(self._block)
        while held < size:
            parts.append(self._random.randbytes(BLOCK_BYTES))
            held += BLOCK_BYTES
        data = b"".join(parts)
        self._block = data[size:]
        return data[:size]


def expected(seed: int, fd: int, size: int) -> bytes:
    """The first ``size`` bytes that the writer writes to ``fd``."""
    return Stream(seed, fd).take(size)


def argv(seed: int, size: int, **options: object) -> list[str]:
    """The command; options by their long names, a true one without a value."""
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    for name, value in {"seed": seed, "bytes": size, **options}.items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return words


def accepted(side: Path) -> list[tuple[int, int]]:
    """Descriptor and byte count of each write(2) that returned, in order; of a killed writer too."""
    try:
        lines = side.read_text().split("\n")[
            :-1
        ]  # behind the last newline: nothing, or half a line
    except FileNotFoundError:
        return []
    return [(int(fd), int(size)) for fd, size in (line.split() for line in lines)]


def written(side: Path, seed: int) -> dict[int, bytes]:
    """What each descriptor took; under 0 all of it in the order of the calls, as a terminal has it."""
    streams: dict[int, Stream] = {}
    parts: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for fd, size in accepted(side):
        data = streams.setdefault(fd, Stream(seed, fd)).take(size)
        parts[fd].append(data)
        parts[0].append(data)
    return {fd: b"".join(pieces) for fd, pieces in parts.items()}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--fds", default="1,2")
    parser.add_argument("--chunk", type=int, default=20_000)
    parser.add_argument("--pause-ms", type=float, default=0.0)
    parser.add_argument("--side")
    parser.add_argument("--wait")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--exit", type=int, default=0)
    options = parser.parse_args()
    fds = [int(fd) for fd in options.fds.split(",")]
    chance = random.Random(f"{options.seed}/sizes")
    streams = {fd: Stream(options.seed, fd) for fd in fds}
    side = -1
    if options.side:
        side = os.open(options.side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    if options.raw:
        for fd in fds:
            if os.isatty(fd):
                tty.setraw(fd, termios.TCSANOW)
    left = options.bytes
    while left > 0:
        fd = chance.choice(fds)
        # Mostly small writes, sometimes a large one.
        size = min(left, max(1, int(options.chunk * chance.random() ** 4)))
        data = memoryview(streams[fd].take(size))
        while data:
            count = os.write(fd, data)
            if side >= 0:
                os.write(side, b"%d %d\n" % (fd, count))
            data = data[count:]
        left -= size
        if options.pause_ms and chance.random() < 0.1:
            time.sleep(options.pause_ms / 100 * chance.random())
    while options.wait and not os.path.exists(options.wait):
        time.sleep(0.005)
    return options.exit


if __name__ == "__main__":
    sys.exit(main())
