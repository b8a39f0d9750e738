"""The environment as it was given: what the program gets of it, and what nobody may read later."""

from __future__ import annotations

import os

_ENV_START, _ENV_END = 49, 50
"""Fields env_start and env_end of /proc/self/stat, counted from 0 (proc(5))."""


def pristine_environ() -> dict[bytes, bytes]:
    """The environment that this process was given.

    Not ``os.environ``: in the C locale CPython adds LC_CTYPE to it before its first line runs
    (PEP 538), and the program must not see that.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    environ: dict[bytes, bytes] = {}
    for name, equals, value in (entry.partition(b"=") for entry in entries):
        if name and equals:  # os.execve takes no other
            environ.setdefault(name, value)  # getenv(3) finds the first of two
    return environ


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
