"""How the C programs are compiled: with every compiler that is meant to, without a warning, static."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ptyshipper.bundle.compile import (
    APP,
    FLAGS,
    INSTALLER,
    LAUNCHER,
    SOURCES,
    CompileError,
    MissingError,
    compile_program,
    compiler,
)

DEFINES = {"TREE_ID": "t", "VERSION": "v"}
PROGRAMS = {"launcher": LAUNCHER, "installer": INSTALLER}

programs = pytest.mark.parametrize("sources", PROGRAMS.values(), ids=PROGRAMS)
PT_DYNAMIC, PT_INTERP = 2, 3


def segments(program: Path) -> set[int]:
    """The types in an ELF file's program header table (elf(5), 64 bits)."""
    data = program.read_bytes()
    start, size, count = (int.from_bytes(data[at : at + 8], "little") for at in (32, 0, 0))
    size, count = (int.from_bytes(data[at : at + 2], "little") for at in (54, 56))
    return {int.from_bytes(data[start + n * size :][:4], "little") for n in range(count)}


@pytest.mark.parametrize("cc", ["musl-gcc", "gcc", "clang"])
@programs
def test_each_compiler_makes_a_static_program(
    cc: str, sources: tuple[str, ...], tmp_path: Path
) -> None:
    """It asks for no loader, and no library is searched for."""
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    target = tmp_path / "program"
    compile_program(sources, target, defines=DEFINES, cc=[cc])
    assert not {PT_DYNAMIC, PT_INTERP} & segments(target)
    assert os.access(target, os.X_OK)


@pytest.mark.parametrize("cc", ["musl-gcc", "gcc"])
@programs
def test_the_analyzer_finds_nothing(cc: str, sources: tuple[str, ...], tmp_path: Path) -> None:
    """gcc follows every path for leaks, double closes and null pointers."""
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    compile_program(
        sources, tmp_path / "program", defines=DEFINES, cc=[cc], flags=[*FLAGS, "-fanalyzer"]
    )


def test_the_launcher_is_small(tmp_path: Path) -> None:
    """It is started before every program, and copied with every tree."""
    if not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed")
    compile_program(LAUNCHER, tmp_path / "launcher", defines=DEFINES, cc=["musl-gcc"])
    assert (tmp_path / "launcher").stat().st_size < 40_000


def test_what_is_defined_arrives_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "say.c"
    source.write_text("#include <stdio.h>\nint main(void) { return puts(WORDS) < 0; }\n")
    words = r'a "b" \n $HOME `x`'
    compile_program([source], tmp_path / "say", defines={"WORDS": words}, cc=["gcc"])
    said = subprocess.run([tmp_path / "say"], capture_output=True, text=True, check=True)
    assert said.stdout == f"{words}\n"


@pytest.mark.parametrize("missing", ["TREE_ID", "VERSION"])
def test_without_its_definitions_nothing_is_compiled(missing: str, tmp_path: Path) -> None:
    defines = {name: value for name, value in DEFINES.items() if name != missing}
    with pytest.raises(CompileError, match=f"{missing} must"):
        compile_program(INSTALLER, tmp_path / "program", defines=defines)
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "odd.c").write_text("int main(void) { int unused; return 0; }\n")
    with pytest.raises(CompileError, match="unused"):
        compile_program([tmp_path / "odd.c"], tmp_path / "odd", defines={})


def test_cc_names_another_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "python3 -m ziglang cc")
    assert compiler() == ["python3", "-m", "ziglang", "cc"]
    monkeypatch.delenv("CC")
    (tmp_path / "gcc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler() == ["gcc"]
    (tmp_path / "musl-gcc").touch(mode=0o755)
    assert compiler() == ["musl-gcc"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="apt-get install gcc musl-tools"):
        compiler()
    with pytest.raises(MissingError, match="apt-get install gcc"):
        compile_program(INSTALLER, tmp_path / "program", defines=DEFINES, cc=["cc"])
    silent = tmp_path / "gcc"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    with pytest.raises(MissingError, match="apt-get install libzstd-dev"):
        compile_program(INSTALLER, tmp_path / "program", defines=DEFINES)


def test_every_source_is_compiled() -> None:
    """A file that no program names would rot."""
    assert {path.name for path in SOURCES.glob("*.c")} == {*LAUNCHER, *INSTALLER, APP}
