"""The image, built once, and a podman that knows it; both only where the programs for it are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.pod.images import BUILDERS, Archive, built_image, missing_for
from integration.pod.podman import Podman

_PROGRAMS = (*BUILDERS, "podman", "runc", "busybox", "readelf")


@pytest.fixture(scope="session")
def can_build() -> None:
    """Skips where images can't be built and run."""
    missing = missing_for(*_PROGRAMS)
    if missing:
        # CI installs all of them, so there a skipped test would be one that nobody runs.
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"missing: {', '.join(missing)}")


@pytest.fixture(scope="session")
def image(can_build: None, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The Dockerfile's image of the wrapper."""
    return built_image(tmp_path_factory.mktemp("image") / "image.tar")


@pytest.fixture(scope="session")
def root(image: Archive) -> Iterator[Path]:
    """The image's files, in a directory that any user can get into; pytest's own are for one alone."""
    with tempfile.TemporaryDirectory(prefix="ptyshipper-image-") as directory:
        os.chmod(directory, 0o755)
        yield image.unpack(Path(directory, "root"))


@pytest.fixture(scope="session")
def podman(image: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman with the built image and nothing else of this machine."""
    running = Podman(tmp_path_factory.mktemp("podman"))
    running.load(image)
    yield running
    running.close()
