"""The steps of the build; what comes out as a whole is tried in ``integration/``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ptyshipper.bundle.build import (
    LOADER,
    SEARCHED,
    UNWINDER,
    BuildError,
    add_c_library,
    close_to_the_image,
    digest,
    main,
    set_modes,
)

PROGRAM = "/bin/cat"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program of this machine's in place of PyInstaller's, with its C library."""
    folder = tmp_path / "tree"
    folder.mkdir()
    shutil.copy(PROGRAM, folder / "app")
    if shutil.which("readelf") is None:
        pytest.skip("readelf is missing")
    add_c_library(folder)
    set_modes(folder)
    return folder


def run_in(tree: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    loader = [str(tree / LOADER), "--inhibit-cache", "--library-path", str(tree)]
    return subprocess.run([*loader, str(tree / "app"), *words], capture_output=True, check=False)


def test_a_program_brings_its_c_library_along(tree: Path) -> None:
    assert {LOADER, UNWINDER, "libc.so.6"} <= {path.name for path in tree.iterdir()}
    assert run_in(tree, "/proc/self/maps").returncode == 0


def test_closed_to_the_image_it_still_runs_and_is_as_long(tree: Path) -> None:
    before = {name: (tree / name).stat().st_size for name in SEARCHED}
    close_to_the_image(tree)
    assert {name: (tree / name).stat().st_size for name in SEARCHED} == before
    for name, paths in SEARCHED.items():
        assert not [path for path in paths if path in (tree / name).read_bytes()]
    shown = run_in(tree, "/proc/self/maps")
    assert shown.returncode == 0
    mapped = set(re.findall(rb"\s(/\S+)$", shown.stdout, re.MULTILINE))
    assert {Path(path.decode()).parent for path in mapped} == {tree}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_what_it_is_preloaded_with_elsewhere_is_not_looked_for(tree: Path, tmp_path: Path) -> None:
    close_to_the_image(tree)
    trace = tmp_path / "trace"
    loader = [str(tree / LOADER), "--inhibit-cache", "--library-path", str(tree), str(tree / "app")]
    command = ["strace", "-qq", "-s", "4096", "-e", "trace=%file", "-o", trace, *loader]
    subprocess.run(
        [*command, "/dev/null"], check=True, env={"PATH": "/bin:/usr/bin", "LC_ALL": "C"}
    )
    calls = [line for line in trace.read_text().splitlines() if not line.startswith("execve")]
    looked_for = set(re.findall(r'"(/[^"]+)"', "\n".join(calls)))
    outside = {path for path in looked_for if not path.startswith((str(tree), "/proc/-"))}
    assert outside == {"/dev/null"}


def test_a_c_library_of_other_ways_is_refused(tree: Path) -> None:
    (tree / LOADER).write_bytes(b"another loader")
    with pytest.raises(BuildError, match=r"no /etc/ld\.so\.preload"):
        close_to_the_image(tree)


def test_an_id_tells_names_and_contents(tmp_path: Path) -> None:
    ids = set()
    for name, content in (("a", "1"), ("a", "2"), ("b", "1")):
        folder = tmp_path / f"{name}{content}"
        folder.mkdir()
        (folder / name).write_text(content)
        ids.add(digest(folder))
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "a1", again)
    assert len(ids) == 3
    assert digest(again) in ids


def test_a_tool_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--output", str(tmp_path / "dist")]) == 1
    said = capfd.readouterr().err
    assert said.startswith("bundle: ")
    assert "Traceback" not in said
    assert not (tmp_path / "dist" / "log-shipper").exists()


@pytest.mark.parametrize("missing", ["dist/log-shipper", "dist/image/install-log-shipper", None])
def test_make_builds_both_forms_where_one_is_missing(tmp_path: Path, missing: str | None) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    sources = ["pyproject.toml", "ptyshipper/module.py", ".venv/.ready"]
    for name in [*sources, "dist/log-shipper", "dist/image/install-log-shipper"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != missing:
            path.touch()
            os.utime(path, (0, 0) if name in sources else (1, 1))
    asked = subprocess.run(["make", "--question", "bundle"], cwd=tmp_path, check=False)
    assert asked.returncode == (0 if missing is None else 1)
