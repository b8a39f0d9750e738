"""Large blocks that were freed are used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.support.server import REPOSITORY

_FAULTS = """
import resource, sys
from ptyshipper.backend.memory import keep_large_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_large_blocks(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_blocks_are_not_asked_of_the_kernel_again() -> None:
    """Twenty of 8 MiB, one after the other: their pages come once, not each time."""
    said = subprocess.run(
        [sys.executable, "-c", _FAULTS], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    before, told, after = int(said[0]), said[1], int(said[2])
    assert told == "True"
    assert after < before / 5
