"""Real compiled programs, and volumes to run them from.

A tree's loader and its app are a probe, which reports what it was started with (``probe.c``).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ptyshipper.bundle import pack
from ptyshipper.bundle.compile import INSTALLER, LAUNCHER, MissingError, compile_program
from tests.support.bundle import lacking
from tests.support.volumes import LOADER, TREES, Version, Volume

SOURCES = Path(__file__).parent


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    target = tmp_path_factory.mktemp("probe") / "probe"
    return compiled(SOURCES / "probe.c", target, pytestconfig)


def compiled(source: Path, target: Path, config: pytest.Config) -> Path:
    """A program of the tests' own, static. Not with musl, which lacks the kernel's headers."""
    if not shutil.which("gcc"):
        lacking(config, "gcc")
    compile_program([source], target, defines={}, cc=["gcc"])
    return target


@pytest.fixture(scope="session")
def versions(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, probe: Path
) -> tuple[Version, Version]:
    """The former one and the new one. Each has a file of its name, and one of 2 MB."""
    folder = tmp_path_factory.mktemp("versions")
    try:
        return _version(folder / "1", probe), _version(folder / "2", probe)
    except (MissingError, pack.MissingError) as error:
        lacking(pytestconfig, str(error))


def _version(folder: Path, probe: Path) -> Version:
    name = folder.name
    image = folder / "image"
    tree = image / TREES / name
    (tree / "lib" / "deep").mkdir(parents=True)
    for program in (LOADER, "app"):
        shutil.copy(probe, tree / program)
    (tree / "openssl.cnf").touch()
    (tree / "lib" / "deep" / "version").write_text(name)
    (tree / "lib" / "large.so").write_bytes(os.urandom(2_000_000))
    compile_program(LAUNCHER, tree / "launch", defines={"TREE_ID": name})
    installer = image / "install-log-shipper"
    compile_program(INSTALLER, installer, defines={"TREE_ID": name, "VERSION": f"v{name}"})
    frame = pack.compress(pack.archive(tree))
    shutil.copy(tree / "launch", image / "log-shipper")
    packed = folder / "packed"
    packed.write_bytes(pack.append(installer.read_bytes(), frame))
    packed.chmod(0o755)
    return Version(name, tree, packed, image)


@pytest.fixture
def old(versions: tuple[Version, Version]) -> Version:
    return versions[0]


@pytest.fixture
def new(versions: tuple[Version, Version]) -> Version:
    return versions[1]


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """``tmp_path``, with a way to it for every user: pytest's folders are their owner's alone."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid != os.geteuid() or folder == Path("/"):
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def volume(open_path: Path, old: Version) -> Volume:
    return Volume(open_path / "volume", old)


@pytest.fixture
def command(open_path: Path, probe: Path) -> Path:
    """A user's program: a probe of its own."""
    (open_path / "bin").mkdir()
    (open_path / "bin").chmod(0o777)
    return Path(shutil.copy(probe, open_path / "bin" / "command"))
