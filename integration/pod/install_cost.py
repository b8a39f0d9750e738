"""What an installation costs within the initContainer's limits: time, CPU and memory.

``python -m integration.pod.install_cost dist/image/install-log-shipper`` prints it, a line for each
run. It needs root and control groups (v1 or v2), but no container: the installer needs nothing of one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CPUS = 0.1
MEMORY_BYTES = 50 * 2**20
UID = 65532
"""The initContainer's, as AnvilOps has them."""

WITHIN_S = 60.0

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_SAMPLE_S = 0.002
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class InstallCost(NamedTuple):
    """One installation, from before its process is started until it has ended.

    ``charged_bytes`` is the most that the kernel charged to its container, nearly all of it files that
    were just written and can be dropped; ``resident_bytes`` the most that the program itself held.
    """

    seconds: float
    cpu_s: float
    charged_bytes: int
    resident_bytes: int


class InstallError(Exception):
    """It did not install: its status and what it said."""


def install_cost(installer: Path, directory: Path) -> InstallCost:
    """Install into ``directory``, which is made, as the initContainer does it.

    Args:
        installer: ``install-log-shipper`` with its tree beside it, or the packed program. It and the
            directory have to be within reach of any user.

    Raises:
        InstallError: it failed, or was killed for wanting more memory.
        OSError: control groups can't be made here.
    """
    directory.mkdir()
    os.chown(directory, UID, UID)
    with _limited() as group, tempfile.TemporaryFile() as said:

        def enter() -> None:
            group.enter()
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)

        began_s = time.monotonic()
        process = subprocess.Popen(
            ["install-log-shipper", str(directory)],
            executable=installer.resolve(),
            env={},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=enter,
        )
        resident_bytes = 0
        while process.poll() is None:
            # Not from the kernel's account at the end: there, its peak is that of the Python process
            # that it was before it became the installer.
            peak = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
            resident_bytes = max(resident_bytes, int(peak[1]) * 1024 if peak else 0)
            if time.monotonic() - began_s > WITHIN_S:
                process.kill()
            time.sleep(_SAMPLE_S)  # a peak can only be looked for while it runs
        seconds = time.monotonic() - began_s
        if process.returncode != 0:
            said.seek(0)
            raise InstallError(f"status {process.returncode}: {said.read().decode().strip()}")
        return InstallCost(seconds, group.cpu_s(), group.charged_bytes(), resident_bytes)


class _Group:
    """A control group with the limits; as cgroup v2 has it, or v1 with its hierarchy a controller."""

    def __init__(self, name: str) -> None:
        self._v1 = (_GROUPS / "memory").is_dir()
        kinds = ("memory", "cpu", "cpuacct") if self._v1 else ("",)
        self._paths = {kind: _GROUPS / kind / name for kind in kinds}
        for path in self._paths.values():
            path.mkdir(exist_ok=True)  # cpu and cpuacct are one hierarchy on many machines

    def limit(self) -> None:
        quota_us = int(CPUS * _PERIOD_US)
        if self._v1:
            memory, cpu = self._paths["memory"], self._paths["cpu"]
            (memory / "memory.limit_in_bytes").write_text(str(MEMORY_BYTES))
            swap, swap_bytes = memory / "memory.memsw.limit_in_bytes", MEMORY_BYTES
            (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (cpu / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            group = self._paths[""]
            (group / "memory.max").write_text(str(MEMORY_BYTES))
            swap, swap_bytes = group / "memory.swap.max", 0
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        if swap.exists():  # a kernel without swap has no such file
            swap.write_text(str(swap_bytes))

    def enter(self) -> None:
        """Move the calling process into it."""
        for path in self._paths.values():
            (path / "cgroup.procs").write_text("0")

    def cpu_s(self) -> float:
        if self._v1:
            return int((self._paths["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        words = (self._paths[""] / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    def charged_bytes(self) -> int:
        if self._v1:
            return int((self._paths["memory"] / "memory.max_usage_in_bytes").read_text())
        return int((self._paths[""] / "memory.peak").read_text())

    def remove(self) -> None:
        for path in self._paths.values():
            if path.exists():
                path.rmdir()


@contextmanager
def _limited() -> Iterator[_Group]:
    group = _Group(f"ptyshipper-{os.getpid()}")
    try:
        group.limit()
        yield group
    finally:
        group.remove()


def main() -> None:
    """Print the cost of a few installations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("installer", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory() as scratch:
            os.chmod(scratch, 0o755)
            cost = install_cost(args.installer, Path(scratch, "volume"))
        print(
            f"{cost.seconds:.3f} s, CPU {cost.cpu_s:.3f} s, charged {cost.charged_bytes / 1e6:.1f} MB, "
            f"resident {cost.resident_bytes / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
