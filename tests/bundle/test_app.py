"""The program that holds Python, with a few modules in it: what it is told, what it finds, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from ptyshipper.bundle import frozen, standins
from ptyshipper.bundle.compile import MissingError, compile_app
from ptyshipper.bundle.standins.encodings import MODULES
from tests.support.bundle import lacking

REPORT = """
import json, os, sys
json.dump({
    "argv": [os.fsencode(word).hex() for word in sys.argv],
    "executable": sys.executable,
    "path": sys.path,
    "environ": dict(os.environ),
    "flags": {name: getattr(sys.flags, name) for name in
              ("isolated", "utf8_mode", "optimize", "no_site", "dont_write_bytecode", "verbose")},
    "encodings": [sys.getfilesystemencoding(), sys.stdout.encoding, sys.stdout.errors],
    "comm": open("/proc/self/comm").read(),
    "files": sorted(module.__file__ for module in sys.modules.values()
                    if getattr(module, "__file__", None) and "/" in module.__file__),
}, sys.stdout)
"""
LOADS = """
import sys
import pack.one
from pack import two
import FAST
print(pack.one.NAME, two.NAME, pack.__path__, FAST.__name__)
try:
    import GONE
except ImportError as error:
    print(error)
try:
    import pack.none
except ModuleNotFoundError as error:
    print(error)
"""
RELEASES = """
import frozen_code, re, large
def kb():
    text = open("/proc/self/smaps").read()
    parts = re.split(r"^[0-9a-f]+-[0-9a-f]+ ", text, flags=re.M)
    return sum(int(re.search(r"Rss: +(\\d+)", part)[1]) for part in parts if "/app\\n" in part)
before = kb()
frozen_code.release()
print(before, kb(), len(large.TEXT))
import two
print(two.NAME)
"""
LIBRARY = (
    "__future__", "collections", "collections.abc", "copyreg", "enum", "functools", "json", "json.decoder",
    "json.encoder", "json.scanner", "keyword", "operator", "re", "re._casefix", "re._compiler",
    "re._constants", "re._parser", "reprlib", "types",
)  # fmt: skip
"""What the scripts here import, and what that does."""

EXTENSIONS = ("array", "_struct", "resource", "termios", "_ssl")


def libpython() -> Path | None:
    name = sysconfig.get_config_var("INSTSONAME")
    folder = Path(sysconfig.get_config_var("LIBDIR"))
    places = (folder, folder / (sysconfig.get_config_var("MULTIARCH") or ""))
    return next((place / name for place in places if (place / name).is_file()), None)


class App:
    """A program in a folder of its own, with a main module and what else it is given."""

    def __init__(self, folder: Path, library: Path, main: str, **others: str) -> None:
        folder.mkdir()
        self.path = folder / "app"
        self._library = library
        sources = {"encodings": Path(standins.__file__).parent / "encodings.py"}
        for name in (*LIBRARY, *(f"encodings.{module}" for module in MODULES.values())):
            found = find_spec(name)
            assert found is not None
            assert found.origin is not None
            sources[name] = Path(found.origin)
        for name, text in {"__main__": main, **others}.items():
            file = folder / f"{name}.py"
            file.write_text(text)
            sources[name.replace("__in__", ".")] = file
        extensions = {}
        for name in EXTENSIONS:
            found = find_spec(name)
            if found and found.origin and found.origin.endswith(".so"):
                extensions[name] = found.origin
        self.extensions = frozen.write(folder, sources, extensions)
        compile_app(self.path, folder, library)

    def run(self, *words: str | bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
        environ = {"LD_LIBRARY_PATH": str(self._library.parent), **variables}
        return subprocess.run(
            [self.path, *words], env=environ, capture_output=True, timeout=60, check=False
        )


@pytest.fixture(scope="session")
def library(pytestconfig: pytest.Config) -> Path:
    found = libpython()
    if found is None:
        lacking(pytestconfig, "a shared libpython")
    return found


def app(folder: Path, library: Path, main: str, config: pytest.Config, **others: str) -> App:
    try:
        return App(folder, library, main, **others)
    except MissingError as error:
        lacking(config, str(error))


def test_it_is_told_everything_and_reads_nothing(
    tmp_path: Path, library: Path, pytestconfig: pytest.Config
) -> None:
    """Arguments byte for byte; no variable of Python's does anything."""
    program = app(tmp_path / "tree", library, REPORT, pytestconfig)
    hostile = {
        "PYTHONHOME": "/hostile", "PYTHONPATH": "/hostile", "PYTHONVERBOSE": "3", "PYTHONUTF8": "0",
        "PYTHONOPTIMIZE": "0", "PYTHONMALLOC": "none", "PYTHONHASHSEED": "none", "LC_ALL": "C",
        "PYTHONIOENCODING": "none", "PTYSHIPPER_LAUNCH": "5 6 0 0 ptyshipper /a b c",
    }  # fmt: skip
    words = [b"--version", b"-c", b"", b"\xff\xfe \n", "ü".encode()]
    done = program.run(*words, **hostile)
    assert (done.returncode, done.stderr) == (1, b""), "a main module that does not exit"
    told = json.loads(done.stdout)
    assert [bytes.fromhex(word) for word in told["argv"]] == [bytes(program.path), *words]
    assert told["executable"] == str(program.path)
    assert told["path"] == []
    assert told["environ"].items() >= hostile.items()
    assert told["flags"] == {
        "isolated": 1, "utf8_mode": 1, "optimize": 2, "no_site": 1, "dont_write_bytecode": 1, "verbose": 0,
    }  # fmt: skip
    assert told["encodings"] == ["utf-8", "utf-8", "surrogateescape"]
    assert told["comm"] == "ptyshipper\n"
    assert told["files"] == []


@pytest.fixture(scope="module")
def script(
    tmp_path_factory: pytest.TempPathFactory, library: Path, pytestconfig: pytest.Config
) -> App:
    """Runs the text that it is given, in a module of its own."""
    folder = tmp_path_factory.mktemp("script") / "tree"
    main = "\nimport fails"
    fails = "import sys\ndef fail():\n    exec(sys.argv[1])\nfail()\n"
    return app(folder, library, main, pytestconfig, fails=fails)


@pytest.mark.parametrize(
    ("launch", "name"),
    [
        ("5 6 0 0 log-shipper /dir", b"log-shipper"),
        ("5 6 0 0 a-name-that-is-too-long /dir", b"a-name-that-is-"),
        ("5 6 0 0 last", b"last"),
        ("5 6 0 0", b"app"),
        ("", b"app"),
    ],
)
def test_ps_shows_the_name_it_was_called_by(script: App, launch: str, name: bytes) -> None:
    shown = script.run("print(open('/proc/self/comm').read(), end='')", PTYSHIPPER_LAUNCH=launch)
    assert shown.stdout == name + b"\n"


def test_modules_are_found_by_name_alone(
    tmp_path: Path, library: Path, pytestconfig: pytest.Config
) -> None:
    """Those in it, packages, and libraries beside it; one that is missing is an error that says where."""
    there = [
        name
        for name in EXTENSIONS
        if (found := find_spec(name)) and str(found.origin)[-3:] == ".so"
    ]
    if len(there) < 2:
        pytest.skip("this Python has every module built in")
    fast, gone = there[:2]
    main = LOADS.replace("FAST", fast).replace("GONE", gone)
    program = app(
        tmp_path / "tree", library, main, pytestconfig,
        pack="", pack__in__one="from .two import NAME as TWO; NAME = __name__ + TWO",
        pack__in__two="NAME = __name__",
    )  # fmt: skip
    assert set(program.extensions) == {fast, gone}
    shutil.copyfile(program.extensions[fast], program.path.parent / f"{fast}.so")
    done = program.run()
    assert done.stderr == b""
    loaded, missing, unknown = done.stdout.decode().splitlines()
    assert loaded == f"pack.onepack.two pack.two [] {fast}"
    assert missing.startswith(f"{gone}: {program.path.parent}/{gone}.so: cannot open")
    assert unknown == "No module named 'pack.none'"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("raise SystemExit(5)", 5, ""),
        ("raise SystemExit('a reason')", 1, "a reason\n"),
        ("import os; os._exit(3)", 3, ""),
        ("pass", 1, ""),
        ("1 / 0", 1, '  File "__main__.py", line 2, in <module>\n'),
        ("1 / 0", 1, '  File "fails.py", line 3, in fail\n'),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_how_it_ends(script: App, text: str, status: int, said: str) -> None:
    done = script.run(text)
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()
    assert bool(said) == bool(done.stderr)


def test_a_broken_pipe_is_an_error_and_no_signal(script: App) -> None:
    """Else it would reach the program as one of its own signals."""
    text = (
        "import os; r, w = os.pipe(); os.close(r)\n"
        "try: os.write(w, b'x')\nexcept BrokenPipeError: os._exit(7)"
    )
    assert script.run(text).returncode == 7


def test_what_was_loaded_is_let_go_of(
    tmp_path: Path, library: Path, pytestconfig: pytest.Config
) -> None:
    """And can be loaded all the same."""
    large = f"TEXT = {os.urandom(1_000_000).hex()!r}"
    program = app(
        tmp_path / "tree", library, RELEASES, pytestconfig, large=large, two="NAME = 'two'"
    )
    done = program.run()
    assert done.stderr == b""
    figures, name = done.stdout.decode().splitlines()
    before_kb, after_kb, length = map(int, figures.split())
    assert (length, name) == (2_000_000, "two")
    assert before_kb > 2_000_000 / 1024 > 10 * after_kb


def test_character_sets_that_are_named_are_there(script: App) -> None:
    """By any of their names, through the registry; a name of another is an error as ever."""
    text = (
        "import codecs\n"
        "for name in ('utf-8', 'UTF8', 'utf_8', 'ascii', 'US-ASCII', 'latin-1', 'ISO-8859-1', 'utf-16'):\n"
        "    decoder = codecs.getincrementaldecoder(name)('replace')\n"
        "    print(name, ascii(decoder.decode('a'.encode(name) + b'\\xe9\\x00', True)))\n"
        "print(ascii('\\ud800'.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')))\n"
        "try: 'a'.encode('cp1252')\n"
        "except LookupError as error: print(error, flush=True)\n"
        "import os; os._exit(0)\n"
    )
    done = script.run(text)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        *(rf"{name} 'a\ufffd\x00'" for name in ("utf-8", "UTF8", "utf_8", "ascii", "US-ASCII")),
        *(rf"{name} 'a\xe9\x00'" for name in ("latin-1", "ISO-8859-1")),
        r"utf-16 'a\xe9'",
        r"'\ufffd'",
        "unknown encoding: cp1252",
    ]
