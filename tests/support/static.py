"""The C programs beside this file, linked statically: they run in any root, and as they are."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

COMPILER = next(filter(shutil.which, ("musl-gcc", "cc")), None)
"""Which compiler there is; None where there is none."""


@cache
def built(name: str, *, linking: str = "-static") -> Path:
    """The executable of ``NAME.c``, made once a run.

    Args:
        name: ``probe`` or ``enter``.
        linking: a flag for the linker, in place of the usual one.
    """
    assert COMPILER is not None, "needs musl-gcc or cc"
    executable = _directory() / f"{name}{linking}"
    source = Path(__file__).with_name(f"{name}.c")
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", linking]
    subprocess.run([COMPILER, *flags, "-o", executable, source], check=True, timeout=60)
    return executable


@cache
def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="ptyshipper-static-"))
    directory.chmod(0o755)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
