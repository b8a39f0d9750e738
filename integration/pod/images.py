"""Images for the tests of the pod, made on this machine: no registry is asked for any.

The base image that the Dockerfile names is stood in for by a Debian with the same programs, which
mmdebstrap makes. It and the build's layers are kept in the user's cache, so that the first build takes
a minute or two and the next ones the time of what has changed.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = "localhost/ptyshipper:latest"
BACKEND_IMAGE = "localhost/ptyshipper-backend:latest"
BUILDERS = ("buildah", "mmdebstrap")

_STAGES = {IMAGE: "build", BACKEND_IMAGE: "backend-build"}
"""By image, the stage that does the work."""
_TARGETS = {BACKEND_IMAGE: "backend"}
"""Of an image that is not the Dockerfile's last."""
_BASE = "docker.io/library/python:3.13-slim"
_SUITE = "trixie"
_PACKAGES = "ca-certificates,libpython3.13-dev,python3,python3-pip,python3-venv"
_LEFT_OUT = ("doc", "info", "locale", "man")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RECIPE_LABEL = "recipe"
_PIP_KEYS = (
    "cert",
    "client-cert",
    "default-timeout",
    "index-url",
    "proxy",
    "timeout",
    "trusted-host",
)
_NPM_KEYS = ("cafile", "https-proxy", "proxy", "registry")
_BUILD_WITHIN_S = 900
_SAID_CHARACTERS = 4_000


@dataclass(frozen=True)
class Archive:
    """An image as a tar in OCI's layout, with its layers compressed as a registry keeps them."""

    path: Path

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration: user, entry point, labels, platform."""
        with tarfile.open(self.path) as archive:
            return _json_blob(archive, self._manifest(archive)["config"]["digest"])

    @property
    def compressed_bytes(self) -> int:
        """What a node downloads: all layers, compressed with gzip."""
        with tarfile.open(self.path) as archive:
            layers: list[dict[str, Any]] = self._manifest(archive)["layers"]
            assert all(layer["mediaType"].endswith("+gzip") for layer in layers), layers
            return sum(layer["size"] for layer in layers)

    def unpack(self, directory: Path) -> Path:
        """The image's root file system, with its owners and modes where we are root."""
        with tarfile.open(self.path) as archive:
            for layer in self._manifest(archive)["layers"]:
                data = _blob(archive, layer["digest"])
                with tarfile.open(fileobj=io.BytesIO(data)) as files:
                    files.extractall(directory, filter="fully_trusted")
        return directory

    @staticmethod
    def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
        index = archive.extractfile("index.json")
        assert index is not None
        (image,) = json.load(index)["manifests"]
        return _json_blob(archive, image["digest"])


def _blob(archive: tarfile.TarFile, digest: str) -> bytes:
    file = archive.extractfile("blobs/" + digest.replace(":", "/"))
    assert file is not None
    return file.read()


def _json_blob(archive: tarfile.TarFile, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_blob(archive, digest))
    return found


def missing_for(*programs: str) -> list[str]:
    """What is missing on this machine for something that root does with these programs."""
    missing = [name for name in programs if shutil.which(name) is None]
    return missing if os.geteuid() == 0 else [*missing, "root"]


def built_image(archive: Path, *, image: str = IMAGE, repository: Path = REPOSITORY) -> Archive:
    """Build an image of the Dockerfile of ``repository`` into an archive, with the programs ``BUILDERS``.

    Raises:
        AssertionError: a step failed.
    """
    with _builder() as builder:
        builder.make_base()
        builder.build(image, repository)
        builder.run("push", "--quiet", image, f"oci-archive:{archive}:{image}")
    return Archive(archive)


@contextmanager
def _builder() -> Iterator[_Builder]:
    """buildah with its images in the cache, one process at a time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "ptyshipper-tests" / "images"
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock, tempfile.TemporaryDirectory() as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _Builder(directory, Path(scratch))


class _Builder:
    """buildah, the images it keeps, and a directory for what one build needs."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._driver = storage_driver(directory)
        run = Path("/run/ptyshipper-tests", *directory.parts[1:])  # what a reboot must take away
        self._environ = storage_environ(scratch, self._driver, directory / "storage", run)
        self.run("rm", "--all")  # what a killed build has left

    def run(self, *arguments: str) -> str:
        """One of buildah's commands; what it prints.

        Raises:
            AssertionError: it failed; with the end of what it said.
        """
        done = subprocess.run(
            ["buildah", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-_SAID_CHARACTERS:]
        return done.stdout.strip()

    def make_base(self) -> None:
        """The stand-in for the stock Python image, unless there is one of this recipe."""
        tar = self._scratch / "base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={_PACKAGES}"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
        recipe = hashlib.sha256(" ".join([*command, _SUITE]).encode()).hexdigest()
        wanted = [f"--filter=reference={_BASE}", f"--filter=label={_RECIPE_LABEL}={recipe}"]
        if self.run("images", "--quiet", *wanted):
            return
        subprocess.run([*command, _SUITE, str(tar)], check=True, timeout=_BUILD_WITHIN_S)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(tar), "/")
        self.run("config", "--env", _PATH, "--label", f"{_RECIPE_LABEL}={recipe}", container)
        self.run("commit", "--quiet", "--rm", container, _BASE)
        tar.unlink()

    def build(self, image: str, repository: Path) -> None:
        """Build the Dockerfile as anybody would, with this machine's way to the package indexes."""
        command = ["build", "--quiet", "--isolation=chroot", "--pull-never", "--timestamp=0"]
        mounts = dict([*self._pip_mounts(), *self._npm_mounts()])
        command += [f"--volume={source}:{target}:ro" for target, source in mounts.items()]
        named = [f"--tag={image}", *(f"--target={each}" for each in [_TARGETS.get(image)] if each)]
        if self._driver == "vfs":  # a layer is a copy of all below it: keep none
            self.run(*command, "--layers=false", *named, str(repository))
            return
        # The stage gets a name, so that its layers are kept and those of older builds are not.
        command.append("--layers")
        stage = _STAGES[image]
        tag = f"--tag=localhost/ptyshipper-{stage}:latest"
        self.run(*command, f"--target={stage}", tag, str(repository))
        self.run(*command, *named, str(repository))
        self.run("rmi", "--prune")

    def _npm_mounts(self) -> Iterator[tuple[str, Path]]:
        """The same for npm, where this machine has one."""
        if shutil.which("npm") is None:
            return
        command = ["npm", "config", "list", "--json"]
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        settings = {key: value for key, value in json.loads(listed).items() if key in _NPM_KEYS}
        config = self._scratch / "npmrc"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items() if value))
        yield "/root/.npmrc", config
        if settings.get("cafile"):
            yield settings["cafile"], Path(settings["cafile"]).resolve()

    def _pip_mounts(self) -> Iterator[tuple[str, Path]]:
        """Where pip finds packages from here, lent to the build and kept out of the image."""
        command = [sys.executable, "-m", "pip", "config", "list"]
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        settings: dict[str, str] = {}
        for level in ("global", "user", "site", ":env:"):  # as pip has it, the last one wins
            for line in listed.splitlines():
                name, _, value = line.partition("=")
                if name.startswith(f"{level}."):
                    settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
        lines = [f"{key} = {settings[key]}" for key in _PIP_KEYS if key in settings]
        config = self._scratch / "pip.conf"
        config.write_text("\n".join(["[global]", *lines, ""]))
        yield "/etc/pip.conf", config
        for key in ("cert", "client-cert"):
            if key in settings:
                yield settings[key], Path(settings[key]).resolve()


def storage_driver(directory: Path) -> str:
    """overlay where the file system below can carry it: another overlay (a container's root) can't."""
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    below = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return "vfs" if below.startswith("overlay") else "overlay"


def storage_environ(config: Path, driver: str, graph: Path, run: Path) -> dict[str, str]:
    """An environment for podman and buildah in which they see these directories' images alone."""
    storage = config / "storage.conf"
    lines = [f'driver = "{driver}"', f'graphroot = "{graph}"', f'runroot = "{run}"']
    storage.write_text("\n".join(["[storage]", *lines, ""]))
    registries = config / "registries.conf"
    registries.write_text('unqualified-search-registries = ["docker.io"]\n')
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
    }


def write_program_image(tar: Path, applets: Sequence[str]) -> None:
    """An image of one static busybox and names for it, as small as a user's image may be."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    with tarfile.open(tar, "w") as image:
        image.add(Path(busybox).resolve(), "bin/busybox")
        for name in applets:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            image.addfile(link)
