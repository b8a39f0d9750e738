"""The command line: its words, its errors in one line, its exit codes."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ptyshipper import command_line
from ptyshipper.command_line import subcommands
from tests.support.terminal import Terminal
from tests.support.wrapping import BARE_ENVIRON, LOG_SHIPPER, PTYSHIPPER, run


def all_commands() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser, by the words that lead to it."""
    found: dict[str, argparse.ArgumentParser] = {}
    rest = [("", command_line.make_parser())]
    while rest:
        path, parser = rest.pop()
        found[path] = parser
        rest += [(f"{path} {name}".strip(), one) for name, one in subcommands(parser).items()]
    return found


COMMANDS = all_commands()


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Our own commands in the examples of its help, each as words."""
    lines = (parser.epilog or "").partition("examples:\n")[2].splitlines()
    found = []
    for line in lines:
        words = shlex.split(line)
        while "ptyshipper" in words:
            words = words[words.index("ptyshipper") :]
            end = next(
                (n for n, word in enumerate(words) if word.strip(";") in ("", "|", ">")), None
            )
            ours = words[:end]
            found.append([word.rstrip(";") for word in ours])
            words = words[len(ours) :]
    return found


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(tmp_path)}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "itself")
def test_help_has_examples_and_each_is_read(command: str) -> None:
    found = examples(COMMANDS[command])
    assert any(shlex.join(words).startswith(f"ptyshipper {command}".strip()) for words in found)
    for words in found:
        args, program = command_line.parse(words[1:])
        assert args.subcommand == words[1]
        assert bool(program) == (words[1] == "run")


def test_help_is_for_people(environ: dict[str, str]) -> None:
    done = run([*PTYSHIPPER, "repro", "--help"], environ)
    assert done.returncode == 0
    assert "examples:\n  ptyshipper repro" in done.stdout.decode()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["run"],
        ["run", "--nonsense", "x", "true"],
        ["logs"],
        ["serve", "--port", "x"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(environ: dict[str, str], words: list[str]) -> None:
    done = run([*PTYSHIPPER, *words], environ)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize("words", [["sessions"], ["logs", "latest"], ["export", "latest"]])
def test_without_a_backend_it_says_how_to_start_one(
    environ: dict[str, str], words: list[str]
) -> None:
    done = run([*PTYSHIPPER, *words], environ)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"ptyshipper serve" in done.stderr


def test_run_without_a_backend_warns_once_and_runs(environ: dict[str, str]) -> None:
    done = run([*PTYSHIPPER, "run", "--", "sh", "-c", "echo out; exit 4"], environ)
    assert (done.returncode, done.stdout) == (4, b"out\n")
    assert done.stderr == (
        b"ptyshipper: no backend runs here, so nothing is recorded; start one with: ptyshipper serve\n"
    )


def test_run_records_to_a_file_without_a_backend(environ: dict[str, str], tmp_path: Path) -> None:
    """And warns of nothing; the file is read as a session is."""
    path = str(tmp_path / "a.rec")
    words = [*PTYSHIPPER, "run", "--record", path, "--", "sh", "-c", "echo out; exit 4"]
    done = run(words, environ)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"out\n", b"")
    assert run([*PTYSHIPPER, "logs", path], environ).stdout == b"out\n"
    done = run(words, environ)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--force" in done.stderr
    words.insert(len(PTYSHIPPER) + 1, "--force")
    assert run(words, environ).returncode == 4


def test_a_recording_tells_of_a_program_that_could_not_be_started(
    environ: dict[str, str], tmp_path: Path
) -> None:
    path = str(tmp_path / "a.rec")
    done = run([*PTYSHIPPER, "run", "--record", path, "--", "/nothing"], environ)
    assert done.returncode == 127
    read = run([*PTYSHIPPER, "logs", path], environ)
    assert read.stdout == done.stderr


def test_the_closing_line_is_for_a_person_who_wants_it(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """On a terminal, at its end, and only where there is something to say."""
    shown = []
    for options in (["--record", "a.rec"], ["--record", "b.rec", "--quiet"], []):
        argv = [*PTYSHIPPER, "run", *options, "--", "sh", "-c", "echo out; exit 3"]
        with Terminal(argv, environ, cwd=str(tmp_path)) as terminal:
            before = terminal.attributes()
            assert terminal.wait() == 3
            assert terminal.attributes() == before
            shown.append(bytes(terminal.shown).decode())
    said, quiet, without = shown
    assert said.startswith(
        "out\r\nptyshipper: recorded in ./a.rec; next: ptyshipper logs ./a.rec, "
    )
    assert said.count("\n") == 2
    assert quiet == "out\r\n"
    assert "next:" not in without


def test_log_shipper_without_a_command_is_2(environ: dict[str, str]) -> None:
    done = run(LOG_SHIPPER, environ)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


def test_log_shipper_takes_no_option_of_its_own(environ: dict[str, str]) -> None:
    assert run([*LOG_SHIPPER, "--help"], environ).returncode == 127
    assert run([*LOG_SHIPPER, "echo", "--version", "--"], environ).stdout == b"--version --\n"


def test_a_damaged_server_json_is_a_warning_to_run_and_an_error_to_readers(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "server.json").write_text("{")
    done = run([*PTYSHIPPER, "run", "echo", "x"], environ)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (0, b"x\n", 1)
    done = run([*PTYSHIPPER, "sessions"], environ)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


def test_serve_says_what_to_install_where_it_is_missing(
    environ: dict[str, str], tmp_path: Path
) -> None:
    blocked = (
        "import sys; sys.modules['starlette'] = None; sys.modules['uvicorn'] = None;"
        "sys.argv = ['ptyshipper', 'serve']; from ptyshipper.cli import main; main()"
    )
    done = run([sys.executable, "-c", blocked], environ)
    assert done.returncode == 1
    assert b"ptyshipper[serve]" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_wrapping_imports_nothing_of_the_backend_and_no_tls(environ: dict[str, str]) -> None:
    program = (
        "import sys, ptyshipper.cli, ptyshipper.agent, ptyshipper.spool.spool, ptyshipper.uplink.uplink\n"
        "bad = {'ssl', 'sqlite3', 'starlette', 'uvicorn', 'asyncio', 'dataclasses', 'argparse', 'socket',"
        " 'threading', 'websockets'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={
            **environ,
            "PYTHONPATH": ":".join(p for p in sys.path if p) + ":" + environ["PYTHONPATH"],
        },
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == b"[]\n"


def test_a_secret_in_the_endpoint_is_not_repeated(environ: dict[str, str]) -> None:
    """An endpoint without a token: the warning names the setting, not the URL with its query."""
    url = "http://127.0.0.1:1/ingest?key=SECRET"
    done = run([*LOG_SHIPPER, "true"], {**environ, "_PRIVATE_ANVILOPS_LOG_ENDPOINT": url})
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"SECRET" not in done.stderr


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_a_token_file_that_holds_none_is_one_warning(
    environ: dict[str, str], tmp_path: Path, token: str
) -> None:
    (tmp_path / "token").write_text(token)
    endpoint = ["--endpoint", "http://127.0.0.1:1/", "--token-file", str(tmp_path / "token")]
    done = run([*PTYSHIPPER, "run", *endpoint, "--", "echo", "x"], environ)
    assert (done.returncode, done.stdout) == (0, b"x\n")
    assert done.stderr.startswith(b"ptyshipper: can't read a token from ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["token", "create"], "token create: one of the arguments --deployment --view is required"),
        (["logs"], "logs: the following arguments are required: SESSION"),
        (["sessions", "--foo"], "unrecognized arguments: --foo"),
    ],
)
def test_wrong_command_line_is_one_line(words: list[str], said: str) -> None:
    """What is wrong, and where the rest is told."""
    done = subprocess.run(
        [sys.executable, "-m", "ptyshipper", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"ptyshipper: {said}; see: ptyshipper")
    assert done.stderr.count("\n") == 1
