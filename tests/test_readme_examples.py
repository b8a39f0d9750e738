"""What the README shows of ``serve`` and ``token`` is what they print."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptyshipper.variables import DATA_VARIABLE, STORE_VARIABLE
from tests.support.patience import PATIENCE_S
from tests.support.server import REPOSITORY
from tests.support.tls_front import make_authority
from tests.support.wrapping import BARE_ENVIRON

README = (REPOSITORY / "README.md").read_text("utf-8")


def shown_by(command: str) -> list[str]:
    """What the one example of this command shows below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    (found,) = [step for step in steps if step.split("\n")[0] == command]
    return found.splitlines()[1:]


def as_printed(line: str, home: Path) -> re.Pattern[str]:
    """The README's port is the default one, its home is anybody's, and of secrets it has the beginning."""
    pattern = re.escape(line).replace("7410", r"\d+")
    pattern = re.sub(r"(ps[a-z]_)\w*…", r"\1[\\w-]{20,}", pattern)
    return re.compile(pattern.replace(re.escape("~"), re.escape(str(home))))


@contextmanager
def running(command: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """The example on a terminal, as a person has it, at a free port."""
    program, *arguments = shlex.split(command)
    assert program == "ptyshipper"
    environ = {**BARE_ENVIRON, "HOME": str(home), "PTYSHIPPER_PORT": "0"}
    for name in (DATA_VARIABLE, STORE_VARIABLE, "XDG_STATE_HOME"):
        environ.pop(name, None)
    near, far = os.openpty()
    with open(near, encoding="utf-8", newline="\r\n") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "ptyshipper", *arguments],
            stdin=subprocess.DEVNULL, stdout=far, stderr=far, env=environ, cwd=home, text=True,
        )  # fmt: skip
        os.close(far)
        process.stdout = said
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.mark.parametrize(
    "commands",
    [
        ["ptyshipper serve"],
        [
            "ptyshipper token create --deployment 42 --app 7 --name shop",
            "ptyshipper serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem",
        ],
    ],
)
def test_examples_print_what_they_show(tmp_path: Path, commands: list[str]) -> None:
    """In the order in which they stand there; a backend that listens to others wants the token."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    make_authority(tmp_path)
    (tmp_path / "server.crt").rename(tmp_path / "chain.pem")
    (tmp_path / "server.key").rename(tmp_path / "key.pem")
    for command in commands:
        shown = shown_by(command)
        assert shown
        with running(command, tmp_path) as process:
            assert process.stdout is not None
            for line in shown:
                printed = process.stdout.readline().removesuffix("\r\n")
                assert as_printed(line, tmp_path).fullmatch(printed), f"{printed!r} is not {line!r}"
