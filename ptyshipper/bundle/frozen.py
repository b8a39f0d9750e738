"""What ``app.c`` holds: every module of Python code that the wrapper can load, compiled.

Two files come of it, for the compiler: ``modules.bin`` has the code of all, as marshal(3) writes it, end
to end, and ``modules.h`` says where each is::

    #define MODULES_FILE "/…/modules.bin"
    #define MODULES(X) X("h11", 0, 652, 1) …           name, offset, bytes, whether it is a package
    #define EXTENSIONS(X) X(_socket, "_socket", "PyInit__socket") …

A zip or PyInstaller's archive would be opened, read, inflated and checked again for each module, by
Python code that has to be loaded itself. Here a module is a name in a list.
"""

from __future__ import annotations

import ast
import json
import marshal
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import FrozenImporter
from pathlib import Path
from types import CodeType
from typing import TypeVar

T = TypeVar("T")

OWN = {
    "collections.abc",
    "frozen_code",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
}
"""Modules that may have no file: what ``app.c`` has itself, what every interpreter starts with, and what
``collections`` puts into ``sys.modules`` since Python 3.13."""

LIBRARY = Path(sysconfig.get_path("stdlib"))

CODE = "modules.bin"
HEADER = "modules.h"


def write(folder: Path, sources: Mapping[str, Path], extensions: Mapping[str, T]) -> dict[str, T]:
    """Write both files into ``folder``.

    Args:
        sources: by the module's name; ``__main__`` is what is run.
        extensions: modules that are shared libraries, by name.

    Returns:
        Those of ``extensions`` that some module names: what stand-ins made useless is left out.

    Raises:
        OSError, SyntaxError, ValueError: a source can't be read or compiled.
        LookupError: see ``loadable``.
    """
    data, rows, named = bytearray(), [], set[str]()
    sources = loadable(sources, extensions)
    for name, source in sorted(sources.items()):
        code = compile_module(name, source)
        named.update(_names(code))
        marshalled = marshal.dumps(code)
        is_package = source.stem == "__init__" or any(o.startswith(f"{name}.") for o in sources)
        rows.append(f"X({_quoted(name)}, {len(data)}, {len(marshalled)}, {is_package:d})")
        data += marshalled
    kept = {name: of for name, of in sorted(extensions.items()) if _last(name) in named}
    folder.joinpath(CODE).write_bytes(data)
    macros = {
        "MODULES_FILE": _quoted(str(folder.resolve() / CODE)),
        "MODULES(X)": " ".join(rows),
        "EXTENSIONS(X)": " ".join(map(_extension, kept)),
    }
    text = "".join(f"#define {name} {value}\n" for name, value in macros.items())
    folder.joinpath(HEADER).write_text(text)
    return kept


def compile_module(name: str, source: Path) -> CodeType:
    """Its code without docstrings, assertions and what functions say of their arguments' types.

    Nobody asks for those at run time, and they are a tenth of what is loaded before the program runs.
    Tracebacks name the file as it would lie in a folder.
    """
    path = name.replace(".", "/")
    path += "/__init__.py" if source.stem == "__init__" else ".py"
    tree = ast.parse(source.read_bytes(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=2)
    return code


def loadable(
    sources: Mapping[str, Path], extensions: Collection[str], library: Path = LIBRARY
) -> dict[str, Path]:
    """``sources`` without those in ``library`` that import what is not there.

    Raises:
        LookupError: another module does.
    """
    there = {*OWN, *sources, *extensions, *sys.builtin_module_names}
    needs = {name: set(imports_of(name, source)) for name, source in sources.items()}
    while lacking := {
        name: wanted
        for name in needs
        for wanted in needs[name] - there
        if not is_in_library(wanted)
    }:
        for name, wanted in lacking.items():
            source = sources[name]
            if not source.is_relative_to(library) or "site-packages" in source.parts:
                raise LookupError(f"{name} imports {wanted}, which is left out")
            del needs[name]
        there -= lacking.keys()
    return {name: sources[name] for name in needs}


def imports_of(name: str, source: Path) -> Iterator[str]:
    """The modules without which it can't be loaded: those that it imports outside every block."""
    package = name if source.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            yield ".".join(filter(None, (above, node.module)))


def is_in_library(name: str) -> bool:
    """Whether this machine's libpython holds the module's code itself, where it costs least."""
    return FrozenImporter.find_spec(name) is not None


def module_of(library: str) -> str:
    """The module that a library is, from its path as PyInstaller has it.

    >>> module_of("python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so")
    '_socket'
    >>> module_of("websockets/speedups.abi3.so")
    'websockets.speedups'
    """
    folder, _, name = library.rpartition("/")
    package = "" if folder.endswith("lib-dynload") or not folder else folder.replace("/", ".") + "."
    return package + name.partition(".")[0]


def _names(code: CodeType) -> Iterator[str]:
    """Every name in the code, those of imported modules among them."""
    for name in code.co_names:
        yield from name.split(".")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _extension(name: str) -> str:
    return f"X({name.replace('.', '_')}, {_quoted(name)}, {_quoted('PyInit_' + _last(name))})"


def _quoted(text: str) -> str:
    return json.dumps(text)  # C reads it the same where it is ASCII
