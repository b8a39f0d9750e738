"""The self-contained program, as ``make bundle`` leaves it in this checkout, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.server import REPOSITORY

BUNDLE = REPOSITORY / "dist" / "log-shipper"


def lacking(config: pytest.Config, what: str) -> NoReturn:
    """Skip with a word; but where CI runs the whole set, nothing that it installs may be missing."""
    if "CI" in os.environ and not config.getoption("markexpr").startswith("not"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def install(directory: Path) -> None:
    """Install the bundle into ``directory``, as the pod's first container does."""
    directory.mkdir()
    argv = ["install-log-shipper", str(directory)]
    done = subprocess.run(
        argv, executable=BUNDLE, capture_output=True, timeout=60, check=False, env={}
    )
    assert done.returncode == 0, done.stderr.decode()


def lay_out(source: Path, target: Path) -> Path:
    """A tree of one's own of the same files: linked, so nothing may write into them in place."""
    return Path(shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)  # on another file system
