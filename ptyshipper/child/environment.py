"""The environment as it was given: what the program gets of it, and what nobody may read later."""

from __future__ import annotations

import os

from ptyshipper.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENV_START, _ENV_END = 49, 50
"""Fields env_start and env_end of /proc/self/stat, counted from 0 (proc(5))."""


class Environment:
    """An environment as the kernel has it: a list of entries, which need not be ``name=value``.

    ``variables`` is what a program finds in it (getenv(3): of two of a name the first), and what
    ``os.execve`` can hand on; ``is_plain`` says that this is all there is, in the same order.
    """

    def __init__(self, entries: Iterable[bytes]) -> None:
        self.entries = list(entries)
        self.variables: dict[bytes, bytes] = {}
        for entry in self.entries:
            name, equals, value = entry.partition(b"=")
            if name and equals:
                self.variables.setdefault(name, value)

    @property
    def is_plain(self) -> bool:
        return len(self.entries) == len(self.variables)

    @property
    def block(self) -> bytes:
        """Every entry, ended by a NUL, as /proc/<pid>/environ shows them."""
        return b"".join(entry + b"\0" for entry in self.entries)

    @classmethod
    def from_block(cls, block: bytes) -> Environment:
        """The reverse of ``block``."""
        return cls(block.split(b"\0")[:-1])

    def without(self, prefix: bytes) -> Environment:
        """The same without the entries that begin with ``prefix``."""
        return Environment(entry for entry in self.entries if not entry.startswith(prefix))


def given_environment() -> Environment:
    """The environment that this process was given.

    Not ``os.environ``: in the C locale CPython adds LC_CTYPE to it before its first line runs
    (PEP 538), and the program must not see that.
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            return Environment.from_block(file.readall())
    except OSError:
        return Environment(name + b"=" + value for name, value in os.environb.items())


def conceal(prefix: bytes) -> bool:
    """Blank the values of variables that begin with ``prefix`` where /proc/<pid>/environ shows them.

    That file is a window on the memory into which the kernel put the environment at the exec
    (proc(5)); taking a variable out of ``os.environ`` leaves it there, for every process of the same
    user to read. So it is overwritten, before the program or a monitor is forked.

    Returns whether nothing readable is left; False where /proc does not let us.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = (int(fields[index - 2]) for index in (_ENV_START, _ENV_END))
        memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    except (OSError, ValueError, IndexError):
        return False
    try:
        block = os.pread(memory, end - start, start)
        at = 0
        for entry in block.split(b"\0"):
            name = entry.partition(b"=")[0]
            if name.startswith(prefix):
                value_at = at + len(name) + 1
                os.pwrite(memory, b"*" * (at + len(entry) - value_at), start + value_at)
            at += len(entry) + 1
    except OSError:
        return False
    finally:
        os.close(memory)
    return True
