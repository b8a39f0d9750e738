"""What the bundle's launcher hands over (``bundle/launcher.c``).

The launcher starts this process with an environment of its own, in which nothing of the image's can
harm it and nothing private can be read by others. What it was given itself comes beside it:

- the program's environment, byte for byte, in a file in memory;
- the signals that were ignored, two of which CPython ignores itself before its first line runs, and
  those that were blocked: the launcher blocks all, so that none is lost until we take them;
- a descriptor of the directory that this runs from, locked so that an installer leaves it alone;
- the name it was called by, and the directory it is installed in.
"""

from __future__ import annotations

import os
import sys

from ptyshipper.child.environment import Environment
from ptyshipper.child.signals import Pristine

VARIABLE = "PTYSHIPPER_LAUNCH"
"""``<environment fd> <tree fd> <ignored signals> <blocked signals> <name> <directory>``: signals as a
mask in hex, bit n-1 for signal n."""

_FIELDS = 6
_HELPER = "launch"
_CA_BUNDLE = "certs"
_READ_BYTES = 65_536
_SIGNALS = 64


class Launch:
    """How the launcher was called.

    ``directory`` is where it is installed, ``helper`` the path of the program that execs with any
    environment, ``ca_bundle`` that of the certificates which the bundle brings along, ``pristine`` how
    signals were.
    """

    def __init__(self, text: str, tree: str) -> None:
        fields = text.split(" ", _FIELDS - 1)
        environment_fd, tree_fd, ignored, blocked, self.name, self.directory = fields
        self.environment = Environment.from_block(_read_all(int(environment_fd)))
        self.pristine = Pristine(_signals(blocked), _signals(ignored))
        self.helper = os.fsencode(f"{tree}/{_HELPER}")
        self.ca_bundle = f"{tree}/{_CA_BUNDLE}"
        os.set_inheritable(int(tree_fd), False)


def received() -> Launch | None:
    """What was handed over; None where this is no bundle. To be asked once: it is taken out.

    Raises:
        ValueError, OSError: the bundle was started by something else than its launcher.
    """
    if not getattr(sys, "frozen", False):
        return None
    return Launch(os.environ.pop(VARIABLE, ""), os.path.dirname(sys.executable))


def _signals(mask: str) -> frozenset[int]:
    return frozenset(n for n in range(1, _SIGNALS + 1) if int(mask, 16) >> (n - 1) & 1)


def _read_all(fd: int) -> bytes:
    """Everything, from the beginning where it is a file in memory; a pipe has no other place."""
    parts = []
    try:
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        pass
    while part := os.read(fd, _READ_BYTES):
        parts.append(part)
    os.close(fd)
    return b"".join(parts)
