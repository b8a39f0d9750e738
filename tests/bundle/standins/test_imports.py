"""All that the bundle may load can be loaded with the stand-ins in place of the library's modules."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ptyshipper
from ptyshipper.bundle import standins

FOLDER = Path(standins.__file__).parent
PACKAGE = Path(ptyshipper.__file__).parent
LEFT_OUT = ("backend", "bundle", "repro", "view", "__main__")
OTHERS = ("h11", "websockets.client", "ptyprocess")

# Before anything else: a module that is loaded stays the library's.
LOAD = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

class Finder:
    def find_spec(name, path=None, target=None):
        if name in STANDINS:
            return spec_from_file_location(name, STANDINS[name])

for name in STANDINS:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Finder)
sys.path += PATHS
__import__(MODULE)
wrong = [name for name in STANDINS if name in sys.modules and sys.modules[name].__file__ != STANDINS[name]]
sys.exit(f"not the stand-in: {wrong}" if wrong else 0)
"""


def standin_files() -> dict[str, str]:
    """By the names of the modules that they stand in for, as the spec has them."""
    spec = (FOLDER.parent / "log-shipper.spec").read_text()
    listed = re.search(r"^STANDINS = \{(.*?)^\}", spec, re.MULTILINE | re.DOTALL)
    assert listed is not None
    pairs = re.findall(r'"([\w.]+)": "(\w+\.py)"', listed[1])
    return {name: str(FOLDER / file) for name, file in pairs}


def modules() -> list[str]:
    """The wrapper's, and what it takes from others."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if len(parts) > 1 and parts[1] not in (*LEFT_OUT, "__init__"):
            found.append(".".join(parts).removesuffix(".__init__"))
    return [*found, *OTHERS]


def test_each_stands_in_for_something() -> None:
    files = {Path(file).name for file in standin_files().values()}
    assert files | {"__init__.py"} == {path.name for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("module", modules())
def test_it_loads(module: str) -> None:
    paths = [str(PACKAGE.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    program = f"STANDINS, PATHS, MODULE = {standin_files()!r}, {paths!r}, {module!r}\n{LOAD}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
