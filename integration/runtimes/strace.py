"""strace(1) on a container from before its start: which files the wrapper names, or a slower kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.runtimes.container import Container
from integration.runtimes.pod import LOG_SHIPPER, VOLUME
from tests.support.patience import PATIENCE_S, until


@contextmanager
def traced(created: Container, output: Path, *options: str) -> Iterator[None]:
    """Trace a container that has not been started yet; ``output`` is complete at the end."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace(1)")
    pid = str(created.pid)
    strace = subprocess.Popen(
        ["strace", "-f", "-o", str(output), *options, "-p", pid], stderr=subprocess.DEVNULL
    )
    try:
        status = Path("/proc", pid, "status")
        until(lambda: f"TracerPid:\t{strace.pid}\n" in status.read_text(), "it is traced")
        yield
        strace.wait(PATIENCE_S)
    finally:
        strace.terminate()  # it lets go of the container, if that is still there
        strace.wait()


_OPENS = re.compile(r"open|exec|creat")
_CHANGES = re.compile(r"mk|rename|unlink|rmdir|link|symlink|f?chmod|l?chown|truncate|utime")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


class Call(NamedTuple):
    """A system call with a path in it."""

    name: str
    path: str
    arguments: str

    @property
    def opens(self) -> bool:
        return bool(_OPENS.match(self.name))

    @property
    def changes(self) -> bool:
        """Whether it makes, changes or removes a file, or opens one to do so."""
        return bool(_CHANGES.match(self.name) or _WRITES.search(self.arguments))


class Trace:
    """Every path that the wrapper named: from its exec on, without the program that it runs.

    Args:
        text: what ``strace -f -y -e trace=%file`` wrote.
    """

    options = ("-y", "-s", "4096", "-e", "trace=%file")
    _CALL = re.compile(r"(\d+) +(\w+)\((.*)")  # what was resumed has been seen when it began
    _PATH = re.compile(r'(?:<([^>]*)>, )?"([^"]*)"')

    def __init__(self, text: str) -> None:
        self.calls: list[Call] = []
        programs: set[str] = set()
        has_begun = False
        for line in text.splitlines():
            call = self._CALL.match(line)
            named = self._PATH.search(call[3]) if call else None
            if not call or not named or call[1] in programs:
                continue
            path = named[2] if named[2].startswith("/") else f"{named[1]}/{named[2]}".rstrip("/")
            has_begun = has_begun or (call[2] == "execve" and path == LOG_SHIPPER)
            if call[2] == "execve" and path == "/probe":
                programs.add(call[1])
            elif has_begun:
                self.calls.append(Call(call[2], path, call[3]))
        assert programs, text

    def outside(self, *allowed: str) -> list[Call]:
        """Calls with a path beside the volume and what is the kernel's own."""
        known = (f"{VOLUME}/", "/proc/", "/dev/", *allowed)
        places = ("/", "/proc", VOLUME)
        return [c for c in self.calls if not c.path.startswith(known) and c.path not in places]
