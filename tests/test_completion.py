"""Words are completed, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ptyshipper import completion
from tests.support.terminal import Terminal
from tests.support.wrapping import BARE_ENVIRON

CASES = {
    "ptyshipper expo": {"export"},
    "ptyshipper token re": {"revoke"},
    "ptyshipper logs --str": {"--stream"},
    "ptyshipper logs --stream std": {"stdout", "stderr"},
    "ptyshipper export --format cast": {"cast", "cast2"},
    "ptyshipper run --spool-overflow bl": {"block"},
    "ptyshipper run --record r": {"run.rec"},
    "ptyshipper export r": {"run.rec"},
    "ptyshipper logs -f l": {"latest"},
    "ptyshipper run --quiet -- myprog": {"myprogram"},
    "ptyshipper run myprog": {"myprogram"},
    "ptyshipper run -- cat r": {"run.rec"},
    "ptyshipper completion z": {"zsh"},
    "ptyshipper serve --tty": set(),
    "ptyshipper sessions x": set(),
}
"""What comes of what was typed, in a directory with the file run.rec and the program myprogram."""

BASH = """
source "$1"
COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_ptyshipper ptyshipper
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a shell in an empty directory of its own, where the scripts are, too."""
    place = tmp_path / "place"
    (place / "bin").mkdir(parents=True)
    (place / "run.rec").touch()
    program = place / "bin" / "myprogram"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for shell in completion.SHELLS:
        (tmp_path / shell).write_text(completion.script(shell))
    return {
        **BARE_ENVIRON,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "PATH": f"{place}/bin:/usr/bin:/bin",
        "PS1": "PROMPT>",
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


def in_bash(typed: str, environ: dict[str, str], tmp_path: Path) -> set[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", str(tmp_path / "bash"), typed],
        env=environ,
        cwd=tmp_path / "place",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def in_fish(typed: str, environ: dict[str, str], tmp_path: Path) -> set[str]:
    command = f"source {tmp_path}/fish; complete -C '{typed}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", command],
        env=environ,
        cwd=tmp_path / "place",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    "complete",
    [pytest.param(in_bash, id="bash"), pytest.param(in_fish, id="fish", marks=needs("fish"))],
)
@pytest.mark.parametrize("typed", CASES)
def test_what_was_begun_is_completed(
    complete: Callable[[str, dict[str, str], Path], set[str]],
    typed: str,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    assert complete(typed, environ, tmp_path) == CASES[typed]


@pytest.mark.parametrize(
    "typed", ["ptyshipper --", "ptyshipper token create --", "ptyshipper run --"]
)
def test_every_option_of_the_parser_is_offered(
    typed: str, environ: dict[str, str], tmp_path: Path
) -> None:
    path = tuple(typed.split()[1:-1])
    (command,) = (one for one in completion.commands() if one.path == path)
    words = {word for option in command.options for word in option.words if word.startswith("--")}
    assert words
    assert in_bash(typed, environ, tmp_path) == words


INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source ../bash"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source ../zsh"),
}


@pytest.mark.parametrize(
    "shell", [pytest.param(shell, marks=needs(shell)) for shell in INTERACTIVE]
)
def test_at_a_prompt_a_tab_completes(shell: str, environ: dict[str, str], tmp_path: Path) -> None:
    """Command, option, value and file; then the line is what was meant."""
    argv, load = INTERACTIVE[shell]
    told = tmp_path / "told"
    function = f'ptyshipper() {{ echo "$@" > {told}; echo said; }}'
    with Terminal(argv, environ, cwd=str(tmp_path / "place"), cols=200) as terminal:
        terminal.expect("PROMPT>")
        terminal.type(f"{load}; {function}; echo lo''aded\n")
        terminal.expect("loaded")
        terminal.expect("PROMPT>")
        for word, shown in (
            ("ptyshipper expo\t", "export "),
            ("--for\t", "--format"),
            (" tex\t" if shell == "bash" else "tex\t", "text "),
            ("run\t", "run.rec"),
        ):
            terminal.type(word)
            terminal.expect(shown)
        terminal.type("\n")
        terminal.expect("said")
    words = told.read_text().replace("=", " ").split()
    assert words == ["export", "--format", "text", "run.rec"]


@needs("zsh")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ptyshipper token revo\t 3", ["token", "revoke", "3"]),
        ("ptyshipper logs lat\t", ["logs", "latest"]),
        ("ptyshipper run -- myprog\tru\t", ["run", "--", "myprogram", "run.rec"]),
        ("ptyshipper completion fi\t", ["completion", "fish"]),
    ],
)
def test_zsh_completes(
    typed: str, meant: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    argv, load = INTERACTIVE["zsh"]
    function = f'ptyshipper() {{ echo "$@" > {told}; echo said; }}'
    with Terminal(argv, environ, cwd=str(tmp_path / "place"), cols=200) as terminal:
        terminal.expect("PROMPT>")
        terminal.type(f"{load}; {function}; echo lo''aded\n")
        terminal.expect("loaded")
        terminal.expect("PROMPT>")
        terminal.type(typed + "\n")
        terminal.expect("said")
    assert told.read_text().split() == meant


def test_the_scripts_name_no_path_of_this_machine() -> None:
    for shell in completion.SHELLS:
        assert os.getcwd() not in completion.script(shell)
