"""Compile the bundle's C programs, with warnings as errors, for the machine that compiles.

The launcher and the installer are static. Their compiler is ``musl-gcc`` where it is there, else ``gcc``;
``CC`` names another. With musl the launcher has 34 KB, with glibc 680. The program that holds Python is
compiled as Python was, with ``gcc`` and for this machine's C library.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SOURCES = Path(__file__).parent

LAUNCHER = ("launcher.c", "tree.c", "common.c")
INSTALLER = ("installer.c", "archive.c", "tree.c", "common.c")

APP = "app.c"

_STRICT = (
    "-std=c11",
    "-Os",
    "-s",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Werror",
)
FLAGS = (
    *_STRICT,
    "-static",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wl,--gc-sections",
    "-Wl,-z,noseparate-code",
)


class CompileError(Exception):
    """The compiler refuses; ``str()`` is its own words."""


class MissingError(CompileError):
    """A compiler or a library is not installed; ``str()`` says which package has it."""


def compiler() -> list[str]:
    """The command that compiles, as words.

    Raises:
        MissingError: none is installed.
    """
    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    for name in ("musl-gcc", "gcc"):
        if shutil.which(name):
            return [name]
    raise MissingError("no C compiler; on Debian: apt-get install gcc musl-tools")


def compile_program(
    sources: Sequence[str | Path],
    target: Path,
    *,
    defines: Mapping[str, str],
    cc: Sequence[str] | None = None,
    flags: Sequence[str] = FLAGS,
) -> None:
    """Compile and link ``sources`` into ``target``.

    Args:
        sources: ``LAUNCHER`` or ``INSTALLER``; a relative one is beside this module.
        defines: macros whose values become C strings, such as ``{"TREE_ID": "1.2.3-0badcafe"}``.
        cc: the compiler instead of ``compiler()``.
        flags: instead of ``FLAGS``, for tests that want a sanitizer.

    Raises:
        CompileError: the compiler refuses.
        MissingError: it is not installed, or zstd's library is not.
    """
    command = list(cc or compiler())
    with tempfile.TemporaryDirectory() as include:
        libraries: list[str] = []
        if "archive.c" in map(str, sources):
            libraries = _zstd(Path(include))
        run = subprocess.run(
            [
                *command,
                *flags,
                *(f"-D{name}={_c_string(value)}" for name, value in defines.items()),
                f"-I{include}",
                *(str(SOURCES / source) for source in sources),
                *libraries,
                "-o",
                str(target),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if run.returncode:
        raise CompileError(f"{shlex.join(command)}: {run.stdout.strip()}")


def compile_app(target: Path, modules: Path, libpython: Path) -> None:
    """Compile the program that holds Python, with the system's own compiler.

    Args:
        modules: the folder with what ``frozen.write`` wrote.
        libpython: the shared library that it is linked with.

    Raises:
        CompileError: the compiler refuses.
        MissingError: it is not installed, or Python's headers are not.
    """
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise MissingError(
            f"{headers}/Python.h is missing; on Debian: apt-get install libpython3-dev"
        )
    include = [f"-I{modules}", "-isystem", str(headers)]
    flags = [*_STRICT, "-D_GNU_SOURCE", "-fPIE", "-pie", "-Wl,--as-needed", *include]
    compile_program([APP, libpython], target, defines={}, cc=["gcc"], flags=flags)


def _c_string(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _zstd(include: Path) -> list[str]:
    """Put zstd's header alone into ``include``; the library to link.

    musl-gcc looks neither into /usr/include nor into the libraries' place, and must not: the headers
    there are glibc's. The system's own compiler says where both are.
    """
    library = _ask("-print-file-name=libzstd.a")
    listed = _ask("-M", "-include", "zstd.h", "-xc", os.devnull).replace("\\\n", " ").split()
    headers = [Path(word) for word in listed if word.endswith("/zstd.h")]
    if not headers or not Path(library).is_absolute():
        raise MissingError("zstd's library is missing; on Debian: apt-get install libzstd-dev")
    for name in ("zstd.h", "zstd_errors.h"):  # the one includes the other since zstd 1.5.6
        if (headers[0].parent / name).exists():
            (include / name).symlink_to(headers[0].parent / name)
    return [library]


def _ask(*question: str) -> str:
    """What the system's own compiler answers; nothing where it refuses."""
    try:
        answer = subprocess.run(["gcc", *question], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("gcc is missing; on Debian: apt-get install gcc") from None
    return answer.stdout.strip()
