"""Pods under each runtime, with the bundle installed in their volumes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.runtimes.container import Runtime
from integration.runtimes.images import Image
from integration.runtimes.pod import Pod, removing
from tests.support.bundle import BUNDLE, install, lacking
from tests.support.server import Server
from tests.support.static import COMPILER

RUNTIMES = (Runtime("runc"), Runtime("crun"))


@pytest.fixture(scope="session")
def installed(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the bundle was installed."""
    if not BUNDLE.exists():
        lacking(pytestconfig, "dist/log-shipper (make bundle)")
    if COMPILER is None:
        lacking(pytestconfig, "musl-gcc")
    directory = tmp_path_factory.mktemp("bundle") / "volume"
    install(directory)
    return directory


@pytest.fixture(scope="session")
def images(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(pytestconfig, tmp_path_factory.mktemp("images"))


class Images:
    """Each image, unpacked once."""

    def __init__(self, config: pytest.Config, directory: Path) -> None:
        self._config = config
        self._directory = directory

    def __getitem__(self, image: Image) -> Path:
        path = self._directory / image.value
        if not path.exists():
            if image.lacks:
                lacking(self._config, image.lacks)
            try:
                image.unpack(path)
            except subprocess.CalledProcessError:
                lacking(self._config, f"{image.value} (by mmdebstrap, from a mirror of Debian)")
        return path


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    runtime: Runtime = request.param
    if not runtime.is_installed:
        lacking(request.config, f"{runtime.name}, or the right to run it,")
    return runtime


@pytest.fixture
def pod(runtime: Runtime, server: Server, installed: Path, tmp_path: Path) -> Iterator[Pod]:
    with removing(tmp_path / "pod") as directory:
        directory.mkdir()
        yield Pod(runtime, server, installed, directory)
