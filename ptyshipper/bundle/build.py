"""Builds the bundle: ``python -m ptyshipper.bundle.build --output dist``.

PyInstaller freezes the wrapper; the C library and its loader of the machine that builds are put
beside it; nothing of it looks for anything in an image's own directories. Then two forms of the same:

    OUTPUT/log-shipper     one static file, which unpacks itself into a volume
    OUTPUT/image/          the root of a container image: the tree as it is in a volume, and an installer

It builds for the machine it runs on; nothing here names an architecture.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ptyshipper import __version__
from ptyshipper.bundle import pack
from ptyshipper.bundle.compile import (
    INSTALLER,
    LAUNCHER,
    CompileError,
    compile_app,
    compile_program,
)

HERE = Path(__file__).parent
LOADER = "ld-bundled.so.2"
"""PyInstaller's bootloader knows that it was started by a loader from a name like this, and looks at
argv[0] then (pyi_path.c: ``ld-*.so.N``)."""

UNWINDER = "libgcc_s.so.1"
"""The C library loads it by itself where a thread ends early, and would look for it in the image."""

TREES = ".log-shipper"

NOWHERE = b"/proc/-"
"""There is no such file whatever an image holds, since the kernel makes up what is in /proc."""

SEARCHED = {
    LOADER: (b"/etc/ld.so.preload", b"/etc/ld.so.cache"),
    "libc.so.6": (
        b"/etc/nsswitch.co",
        b"/var/run/nscd/so",
        b"/etc/host.conf",
        b"/etc/gai.conf",
        b"/etc/localtime",
        b"/usr/share/zoneinfo",
        b"/usr/lib/locale",
    ),
}
"""Paths of the image that the C library would read, and that are patched to lead nowhere, by as much of
each as a compiler keeps together (16 bytes). What is left is the kubelet's and meant to be read:
/etc/hosts and /etc/resolv.conf."""

_ID_DIGITS = 12
TOOLS = {
    "gcc": "gcc",
    "ldd": "libc-bin",
    "openssl": "openssl",
    "readelf": "binutils",
    "strip": "binutils",
    "zstd": "zstd",
}
"""What is run beside the compiler, and Debian's package of it."""

_NOBODY = "http://127.0.0.1:1/"
"""Where nobody listens: below 1024, and no service has it."""

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
_LIBRARY = re.compile(r"=> (/\S+) \(")
_INTERPRETER = re.compile(r"interpreter: (/[^\]]+)\]")


class BuildError(Exception):
    """A tool is missing or failed; one line for a person."""


def main(words: list[str] | None = None) -> int:
    """Build; 1 where that fails, with one line on stderr."""
    parser = argparse.ArgumentParser(description="Build the self-contained log-shipper.")
    parser.add_argument("--output", type=Path, default=Path("dist"), help="(%(default)s)")
    args = parser.parse_args(words)
    try:
        with tempfile.TemporaryDirectory(prefix="ptyshipper-bundle-") as work:
            build(args.output, Path(work))
    except (BuildError, CompileError, pack.PackError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    return 0


def build(output: Path, work: Path) -> None:
    """Make both forms in ``output``, by way of ``work``.

    Raises:
        BuildError, CompileError, pack.PackError, OSError: it can't be built here.
    """
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise BuildError(f"{tool} is missing; on Debian: apt-get install {package}")
    tree = freeze(work)
    add_c_library(tree)
    add_data(tree)
    close_to_the_image(tree)
    set_modes(tree)
    tree_id = f"{__version__}-{digest(tree)}"
    defines = {"TREE_ID": tree_id, "VERSION": __version__}
    compile_program(LAUNCHER, tree / "launch", defines=defines)
    compile_program(INSTALLER, work / "installer", defines=defines)
    (tree / "launch").chmod(0o755)
    (work / "installer").chmod(0o755)

    image = output / "image"
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir(parents=True)
    (image / TREES).mkdir()
    shutil.copytree(tree, image / TREES / tree_id)
    shutil.copy2(tree / "launch", image / "log-shipper")
    shutil.copy2(work / "installer", image / "install-log-shipper")
    packed = output / "log-shipper"
    frame = pack.compress(pack.archive(tree))
    _replace(packed, pack.append((work / "installer").read_bytes(), frame))
    try_out(image, work)
    size_bytes = sum(path.stat().st_size for path in _files(tree))
    print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB; unpacked {size_bytes / 1e6:.1f} MB")


def try_out(image: Path, work: Path) -> None:
    """See that it wraps and that it tries to ship: what was left out may be missed only then.

    Raises:
        BuildError: it does not.
    """
    settings = {"ENDPOINT": _NOBODY, "TOKEN": "x", "FLUSH_TIMEOUT_S": "1", "SPOOL_DIR": str(work)}
    environ = {f"_PRIVATE_ANVILOPS_LOG_{name}": value for name, value in settings.items()}
    command = [str(image.resolve() / "log-shipper"), "echo", "wrapped"]
    said = _run(command, {**os.environ, **environ})
    if "wrapped" not in said or "connection refused" not in said:
        raise BuildError(f"what was built does not work:\n{said.strip()}")


def freeze(work: Path) -> Path:
    """Run the spec, and compile what it found; the tree of the program and its own libraries."""
    output = work / "frozen"
    source = str(HERE.parent.parent)
    environ = {
        **os.environ,
        "PTYSHIPPER_SOURCE": source,
        "PYTHONPATH": source,
        "PYTHONHASHSEED": "0",
        "PYTHONNODEBUGRANGES": "1",  # columns in tracebacks: 3 % of the image
        "PYINSTALLER_CONFIG_DIR": str(work / "cache"),
    }
    command = [
        sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR",
        "--distpath", str(output), "--workpath", str(work / "build"),
        str(HERE / "log-shipper.spec"),
    ]  # fmt: skip
    _run(command, environ)
    tree = output / "tree"
    libpython = tree / str(sysconfig.get_config_var("INSTSONAME"))
    if not libpython.exists():
        raise BuildError("this Python has no shared library (configure --enable-shared)")
    compile_app(tree / "app", output, libpython)
    for path in _files(tree):
        _run(["strip", "--strip-unneeded", str(path)])
    return tree


def add_c_library(tree: Path) -> None:
    """Put the loader and every library beside the program that it would find on this machine."""
    app = tree / "app"
    found = _INTERPRETER.search(_run(["readelf", "--wide", "--program-headers", str(app)]))
    if not found:
        raise BuildError(f"{app.name} has no loader: a musl or a static Python can't be bundled")
    loader = Path(found[1])
    wanted = [app, *(path for path in _files(tree) if ".so" in path.name)]
    environ = {**os.environ, "LD_LIBRARY_PATH": str(tree)}
    for path in wanted:
        for library in _LIBRARY.findall(_run([str(loader), "--list", str(path)], environ)):
            target = tree / Path(library).name
            if not target.exists() and Path(library).resolve() != loader.resolve():
                shutil.copyfile(library, target)
    shutil.copyfile(loader, tree / LOADER)
    unwinder = Path(_run(["gcc", f"-print-file-name={UNWINDER}"]).strip())
    if not unwinder.is_absolute():
        raise BuildError(f"{UNWINDER} is missing; on Debian: apt-get install libgcc-s1")
    shutil.copyfile(unwinder, tree / UNWINDER)


def add_data(tree: Path) -> None:
    """The certificates for TLS, and a configuration of OpenSSL's in which nothing is configured.

    Each certificate is in a file of its own, named by its hash (openssl-rehash(1)): OpenSSL then reads
    the one that it needs. All in one file would be parsed at each start, and take 2 MB.
    """
    try:
        import certifi
    except ModuleNotFoundError:
        raise BuildError("certifi is missing; pip install '.[bundle]'") from None
    certificates = tree / "certs"
    certificates.mkdir()
    text = Path(certifi.where()).read_text()
    for number, certificate in enumerate(_CERTIFICATE.findall(text)):
        (certificates / f"{number}.pem").write_text(certificate)
    _run(["openssl", "rehash", str(certificates)])
    for path in certificates.iterdir():
        if path.is_symlink():  # and the installer makes none
            path.resolve().rename(path)
    (tree / "openssl.cnf").write_bytes(b"")


def close_to_the_image(tree: Path) -> None:
    """Patch the C library's own paths, each in place (``SEARCHED``).

    Raises:
        BuildError: one is not there, so another C library than was looked at would go unpatched.
    """
    for name, paths in SEARCHED.items():
        data = (tree / name).read_bytes()
        for path in paths:
            if path not in data:
                raise BuildError(f"{name} has no {path.decode()}: where does it look for that?")
            data = data.replace(path, NOWHERE + path[len(NOWHERE) :])
        (tree / name).write_bytes(data)


def set_modes(tree: Path) -> None:
    """For everybody: the volume is written by one user and run by another."""
    for path in _files(tree):
        path.chmod(0o755 if path.name in ("app", LOADER) else 0o644)


def digest(tree: Path) -> str:
    """A name for what is in the tree."""
    total = hashlib.sha256()
    for path in _files(tree):
        total.update(f"{path.relative_to(tree)}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:_ID_DIGITS]


def _files(tree: Path) -> Iterator[Path]:
    return (path for path in sorted(tree.rglob("*")) if path.is_file())


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_bytes(data)
    unfinished.chmod(0o755)
    unfinished.rename(path)


def _run(command: list[str], environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"{' '.join(command[:3])} failed:\n{done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
