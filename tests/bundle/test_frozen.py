"""What is compiled into the program that holds Python, and what is left out of it."""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import pytest

from ptyshipper.bundle.frozen import (
    CODE,
    HEADER,
    compile_module,
    imports_of,
    loadable,
    module_of,
    write,
)

Write = Callable[[str, str], Path]


@pytest.fixture
def source(tmp_path: Path) -> Write:
    """Writes a source file."""

    def write_source(path: str, text: str) -> Path:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path / path

    return write_source


def test_each_module_is_where_the_header_says(source: Write, tmp_path: Path) -> None:
    sources = {
        "__main__": source("main.py", "import pack.one, _fast; answer = 1"),
        "pack": source("pack/__init__.py", "answer = 2"),
        "pack.one": source("pack/one.py", "answer = 3"),
        "alone": source("alone.py", "answer = 4"),
        "alone.below": source("below.py", "answer = 5"),
    }
    kept = write(tmp_path, sources, {"_fast": "a", "_slow": "b"})
    assert kept == {"_fast": "a"}, "nobody names the other"
    header, data = (tmp_path / HEADER).read_text(), (tmp_path / CODE).read_bytes()
    assert f'#define MODULES_FILE "{tmp_path}/{CODE}"\n' in header
    assert '#define EXTENSIONS(X) X(_fast, "_fast", "PyInit__fast")\n' in header
    rows = re.findall(r'X\("([\w.]+)", (\d+), (\d+), (\d)\)', header)
    assert sum(int(size) for _, _, size, _ in rows) == len(data)
    answers = {}
    for name, offset, size, is_package in rows:
        code = marshal.loads(data[int(offset) :][: int(size)])
        (answer,) = (
            constant for constant in code.co_consts if isinstance(constant, int) and constant
        )
        answers[name] = (answer, is_package)
    assert answers == {
        "__main__": (1, "0"),
        "pack": (2, "1"),
        "pack.one": (3, "0"),
        "alone": (4, "1"),  # a package, since there is a module below it
        "alone.below": (5, "0"),
    }


def test_what_is_there_for_readers_alone_is_left_out(source: Write) -> None:
    path = source(
        "odd.py",
        '"""A text."""\n'
        "class Kept:\n"
        '    """A text."""\n'
        "    field: int\n"
        "def found(a: Kept, *b: int, c: 'str' = 'd', **e: int) -> float:\n"
        '    """A text."""\n'
        "    assert a\n"
        "    return 1 / 0\n",
    )
    names: dict[str, object] = {"__name__": "odd"}
    code = compile_module("in.odd", path)
    assert code.co_filename == "in/odd.py"
    exec(code, names)
    kept, found = names["Kept"], names["found"]
    assert names.get("__doc__") is kept.__doc__ is found.__doc__ is None
    assert (list(kept.__annotations__), found.__annotations__) == (["field"], {})  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError) as raised:
        found(0)  # type: ignore[operator]
    last = raised.traceback[-1]
    assert (str(last.frame.code.raw.co_filename), last.lineno + 1) == ("in/odd.py", 8)
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    assert {code.co_filename for code in inner} == {"in/odd.py"}


def test_what_is_imported_at_once_has_to_be_there(source: Write) -> None:
    text = (
        "import a.b, c\n"
        "from .d import x\n"
        "from . import y\n"
        "from ..e import z\n"
        "try:\n    import f\nexcept ImportError: pass\n"
        "def later():\n    import g\n"
    )
    module, package = source("m.py", text), source("__init__.py", text)
    assert list(imports_of("p.q.m", module)) == ["a.b", "c", "p.q.d", "p.q", "p.e"]
    assert list(imports_of("p.q", package)) == ["a.b", "c", "p.q.d", "p.q", "p.e"]


def test_the_librarys_own_goes_with_what_it_needs(source: Write, tmp_path: Path) -> None:
    """With all that needs it in turn, except what is not the library's: there it is an error."""
    library, extensions = tmp_path / "lib", ["math", "select"]
    sources = {
        "linecache": source("lib/linecache.py", "import os, sys, tokenize"),
        "traceback": source("lib/traceback.py", "import linecache"),
        "selectors": source("lib/selectors.py", "import math, select, time"),
    }
    assert loadable(sources, extensions, library) == {"selectors": sources["selectors"]}
    sources["h11"] = source("lib/site-packages/h11.py", "import selectors")
    assert "h11" in loadable(sources, extensions, library)
    for path in ("lib/site-packages/other.py", "other.py"):
        sources["other"] = source(path, "import traceback")
        with pytest.raises(LookupError, match="other imports traceback, which is left out"):
            loadable(sources, extensions, library)


@pytest.mark.parametrize(
    ("library", "module"),
    [
        ("python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so", "_socket"),
        ("lib-dynload/_ssl.so", "_ssl"),
        ("websockets/speedups.abi3.so", "websockets.speedups"),
        ("a/b/c.cpython-313-aarch64-linux-gnu.so", "a.b.c"),
        ("fast.so", "fast"),
    ],
)
def test_a_library_is_a_module(library: str, module: str) -> None:
    assert module_of(library) == module
