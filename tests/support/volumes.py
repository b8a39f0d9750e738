"""Volumes with a bundle whose wrapper is a probe: its versions, where they are, what the probe saw."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.executing import Ended, execute

LOADER = "ld-bundled.so.2"
TREES = ".log-shipper"
PROBE_STATUS = 7
OTHER_UID = 65532
"""Whoever the volume's installer or its reader is: not the tests' own user."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


@dataclass(frozen=True)
class Version:
    """One version of the program, in both forms.

    Attributes:
        id: its tree's name, and the version that people see, with a "v" before it.
        tree: what is in its tree.
        packed: the installer with the tree behind it.
        image: a folder as the container image's root: ``install-log-shipper`` and the tree.
    """

    id: str
    tree: Path
    packed: Path
    image: Path

    def installer(self, form: str) -> Path:
        return self.packed if form == "packed" else self.image / "install-log-shipper"

    @property
    def files(self) -> dict[str, tuple[int, bytes]]:
        """What is in its tree: the mode and the contents of each file, b"" for a directory."""
        return contents(self.tree)

    def install(self, form: str, directory: Path | str) -> Ended:
        """Install it, and see that it says so."""
        ended = execute(self.installer(form), ["install-log-shipper", os.fsencode(directory)])
        assert ended == (0, f"ptyshipper: installed v{self.id} in {directory}\n".encode(), "")
        return ended


def contents(tree: Path) -> dict[str, tuple[int, bytes]]:
    """The mode and the contents of each file; b"" for a directory."""
    return {
        str(path.relative_to(tree)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in tree.rglob("*")
    }


class Volume:
    """A folder with a launcher and its tree. Everybody may write where the probes report to."""

    def __init__(self, path: Path, version: Version) -> None:
        self.path = path
        self.launcher = path / "log-shipper"
        self.tree = path / TREES / version.id
        self.tree.parent.mkdir(parents=True)
        shutil.copytree(version.tree, self.tree)
        shutil.copy(version.tree / "launch", self.launcher)
        self.tree.chmod(0o777)

    @property
    def report(self) -> Report:
        return Report(self.tree / LOADER)


class Report:
    """What a probe was started with; every string as bytes."""

    def __init__(self, probe: Path) -> None:
        with open(os.fsencode(probe) + b".report", "rb") as file:
            self._fields: dict[str, Any] = json.load(file)
        os.unlink(file.name)
        self.argv = [bytes.fromhex(word) for word in self._fields["argv"]]
        self.environ = [bytes.fromhex(entry) for entry in self._fields["environ"]]
        self.fds = {int(fd): bytes.fromhex(to) for fd, to in self._fields["fds"].items()}
        self.cwd = bytes.fromhex(self._fields["cwd"])
        self.handed_over = bytes.fromhex(self._fields.get("handed_over", ""))

    def __getitem__(self, field: str) -> Any:
        return self._fields[field]

    @property
    def launch(self) -> list[bytes]:
        """PTYSHIPPER_LAUNCH: env_fd, tree_fd, ignored and blocked signals, name, directory."""
        (value,) = (
            entry.removeprefix(b"PTYSHIPPER_LAUNCH=")
            for entry in self.environ
            if entry.startswith(b"PTYSHIPPER_LAUNCH=")
        )
        return value.split(b" ", 5)

    @property
    def arguments(self) -> list[bytes]:
        """The user's command, as the wrapper got it."""
        return self.argv[7:]


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own on ``folder``; ``options`` are mount(8)'s."""
    folder.mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"can't mount here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
