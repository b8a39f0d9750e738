"""The program can't tell: the same facts, bare and wrapped, on every kind of stdio."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from integration.runtimes.conftest import installed  # noqa: F401  a fixture
from tests.support.executing import ignored_signals
from tests.support.place import EmptyRoot, Place
from tests.support.server import Server
from tests.support.static import COMPILER
from tests.support.stored import fresh_deployment_id, sessions_of
from tests.support.terminal import Terminal
from tests.support.wrapping import (
    BARE_ENVIRON,
    LOG_SHIPPER,
    PTYSHIPPER,
    latest_session,
    run,
    shipping_environ,
    stored_output,
)


@pytest.fixture(params=["source", pytest.param("bundle", marks=pytest.mark.runtimes)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The checkout on this machine, and what it is bundled into in a root where nothing else is."""
    if COMPILER is None:
        pytest.skip("needs musl-gcc or cc")
    if request.param == "source":
        return Place(tmp_path)
    return empty_root(request, tmp_path)


def empty_root(request: pytest.FixtureRequest, directory: Path, *enter: str) -> EmptyRoot:
    if os.getuid() != 0:
        pytest.skip("needs root, to change it")
    return EmptyRoot(directory, request.getfixturevalue("installed"), enter)


def both(
    place: Place, server: Server, **settings: str
) -> list[tuple[Callable[..., list[str]], dict[str, str]]]:
    """Bare and wrapped: what makes the command line, and the environment."""
    return [(place.bare, BARE_ENVIRON), (place.wrapped, place.environ(server, **settings))]


def report_on(
    place: Place,
    argv: list[str],
    environ: dict[str, str],
    ttys: tuple[bool, bool, bool],
    *,
    shell: bool,
) -> tuple[dict[str, Any], int, dict[int, bytes], bytes]:
    """Run it on a terminal or pipe for each of 0, 1, 2: the probe's report, its exit status, what came
    through the pipes, and what the terminal showed."""
    pipes = {fd: os.pipe() for fd in range(3) if not ttys[fd]}
    inner = {fd: ends[0 if fd == 0 else 1] for fd, ends in pipes.items()}
    with Terminal(
        argv,
        environ,
        stdio=(inner.get(0), inner.get(1), inner.get(2)),
        shell=shell,
        rows=33,
        cols=111,
        cwd=str(place.cwd),
    ) as terminal:
        for fd in inner.values():
            os.close(fd)
        status = terminal.wait()
        shown = bytes(terminal.shown)
    got = {fd: read_all(ends[0]) for fd, ends in pipes.items() if fd}
    if 0 in pipes:
        os.close(pipes[0][1])
    return report_in(place), status, got, shown


def read_all(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def report_in(place: Place) -> dict[str, Any]:
    """What the probe wrote into the file ``report``."""
    report: dict[str, Any] = json.loads((place.cwd / "report").read_text())
    return report


REPORT = ("report", "report", "say", "to stdout", "err", "to stderr")


@pytest.mark.parametrize("shell", [False, True], ids=["leads-session", "job-of-a-shell"])
@pytest.mark.parametrize(
    "ttys", list(product([True, False], repeat=3)), ids=lambda t: "".join("tp"[not x] for x in t)
)
def test_a_program_finds_the_same_world(
    place: Place, server: Server, ttys: tuple[bool, bool, bool], shell: bool
) -> None:
    if shell and not any(ttys):
        pytest.skip("a shell's job is one by its terminal")
    bare, wrapped = (
        report_on(place, command(place.probe, *REPORT, "exit", "7"), environ, ttys, shell=shell)
        for command, environ in both(place, server)
    )
    for report in (bare[0], wrapped[0]):
        if not any(ttys):
            # Without a terminal it stays in our group and session, so that what is sent to those
            # reaches all that it would (DESIGN.md).
            del report["leads_session"], report["leads_group"]
        elif shell and not (ttys[0] and ttys[1]):
            # A pipe on 0 or 1 makes it a pipeline, whose others use the terminal: the program begins
            # in the background of its own and comes to the front when it asks for it (DESIGN.md).
            for facts in report["terminals"].values():
                del facts["in_foreground"]
    assert wrapped == bare
    session = latest_session(server)
    assert (session["state"], session["exit_code"]) == ("exited", 7)
    assert session["tty"] == ttys[1]
    stored = stored_output(server, session)
    assert stored["stdout"] == bare[2].get(1, b"")
    assert stored["stderr"] == bare[2].get(2, b"")
    assert stored["tty"] == bare[3]


def inherit_oddly() -> None:
    """In a child before its exec: what a careful parent would not leave to it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMIN + 3})
    for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2):
        signal.signal(signo, signal.SIG_IGN)
    os.umask(0o137)
    resource.setrlimit(resource.RLIMIT_CORE, (12_345, 54_321))
    os.nice(3)
    os.setgroups([5, 77])


def test_an_odd_inheritance_arrives(place: Place, server: Server) -> None:
    """A blocked and an ignored signal, a umask, a limit, a niceness, a group, descriptors above 2."""
    read_end, write_end = os.pipe()
    high = os.dup2(write_end, 40)
    reports = []
    for command, environ in both(place, server):
        done = run(
            command(place.probe, *REPORT),
            {**environ, "ODD": "a=b\n", "LC_ALL": "C", "LANG": ""},
            preexec_fn=inherit_oddly,
            pass_fds=[high, read_end],
            cwd=place.cwd,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"to stdout\n", b"to stderr\n")
        reports.append(report_in(place))
    for fd in (read_end, write_end, high):
        os.close(fd)
    assert reports[1] == reports[0]
    assert reports[0]["status"]["Umask"] == "0137"
    assert {str(fd) for fd in (high, read_end)} <= reports[0]["fds"].keys()


def test_the_bundle_passes_on_what_python_can_not(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server
) -> None:
    """An ignored SIGPIPE and SIGXFSZ, and entries of the environment that no mapping can hold: each in
    its place, as often as it is there."""
    entries = [b"TWICE=1", b"NOVALUE", b"=nameless", b"", b"BAD=\xff", b"TWICE=2", b"=", b"LAST=x"]
    file = tmp_path / "environ"
    ignoring = [
        option for signo in (signal.SIGPIPE, signal.SIGXFSZ) for option in ("-i", str(signo))
    ]
    place = empty_root(request, tmp_path, "-e", str(file), *map(str, ignoring))
    reports = []
    for command, environ in both(place, server):
        private = [f"{k}={v}".encode() for k, v in environ.items() if k.startswith("_PRIVATE")]
        file.write_bytes(b"".join(e + b"\0" for e in [*entries[:3], *private, *entries[3:]]))
        done = run(command(place.probe, *REPORT), {})
        assert (done.returncode, done.stdout, done.stderr) == (0, b"to stdout\n", b"to stderr\n")
        reports.append(report_in(place))
    assert reports[1] == reports[0]
    assert [bytes.fromhex(entry) for entry in reports[0]["environ"]] == entries
    ignored = int(reports[0]["status"]["SigIgn"], 16)
    asked_for = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert ignored == asked_for | ignored_signals()
    assert stored_output(server, latest_session(server))["stdout"] == b"to stdout\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_descriptors_stay_closed(
    place: Place, server: Server, closed: tuple[int, ...]
) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    reports = []
    for command, environ in both(place, server):
        done = run(command(place.probe, *REPORT), environ, preexec_fn=close, cwd=place.cwd)
        reports.append((report_in(place), done.returncode, done.stdout, done.stderr))
    assert reports[1] == reports[0]
    assert reports[0][1] == 0
    assert not reports[0][0]["fds"].keys() & set(map(str, closed))


def ends_with(argv: list[str], environ: dict[str, str], *, tty: bool) -> int:
    if not tty:
        return run(argv, environ).returncode
    with Terminal(argv, environ) as terminal:
        return terminal.wait()


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_every_exit_code_comes_back(place: Place, server: Server, tty: bool) -> None:
    deployment_id = fresh_deployment_id()
    environ = place.environ(server, deployment_id=str(deployment_id))
    codes = [0, 1, 2, 7, 126, 127, 128, 129, 137, 143, 255] if tty else list(range(256))

    def end_with(code: int) -> int:
        return ends_with(place.wrapped(place.probe, "exit", str(code)), environ, tty=tty)

    if tty:  # a pty is forked by this process, which then has no threads
        assert [end_with(code) for code in codes] == codes
    else:
        with ThreadPoolExecutor(4) as several:
            assert list(several.map(end_with, codes)) == codes
    stored = sessions_of(server, deployment_id)
    assert sorted(session["exit_code"] for session in stored) == codes


FATAL = [
    s for s in sorted(signal.valid_signals())
    if s not in (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP,
                 signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
]  # fmt: skip


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_every_fatal_signal_comes_back_as_a_shell_says_it(
    place: Place, server: Server, tty: bool
) -> None:
    environ = place.environ(server)
    for signo in FATAL if not tty else FATAL[::7]:
        argv = place.wrapped(place.probe, "die", str(int(signo)))
        assert ends_with(argv, environ, tty=tty) == 128 + signo
        session = latest_session(server)
        assert (session["exit_code"], session["exit_signal"]) == (None, signo)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("no-such-program", 127, "ptyshipper: no-such-program: command not found\n"),
        ("./nothing/here", 127, "ptyshipper: ./nothing/here: no such file\n"),
        ("./plain", 126, "ptyshipper: ./plain: can't be executed: Permission denied\n"),
        ("./folder", 126, "ptyshipper: ./folder: can't be executed: Permission denied\n"),
        ("./text", 126, "ptyshipper: ./text: can't be executed: Exec format error\n"),
        (
            "./lost",
            126,
            "ptyshipper: ./lost: can't be executed: its interpreter or loader is missing\n",
        ),
        ("", 127, "ptyshipper: : command not found\n"),
    ],
)
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_what_cannot_be_executed_says_so_once_and_is_recorded(
    place: Place, server: Server, name: str, code: int, says: str, tty: bool
) -> None:
    (place.cwd / "folder").mkdir()
    (place.cwd / "plain").write_text("no program\n")
    (place.cwd / "text").write_text("echo never\n")
    (place.cwd / "lost").write_text("#!/no/such/interpreter\n")
    for path in ("text", "lost"):
        (place.cwd / path).chmod(0o755)
    argv, environ = place.wrapped(name), place.environ(server)
    if tty:
        with Terminal(argv, environ, shell=True, cwd=str(place.cwd)) as terminal:
            assert terminal.wait() == code
            assert bytes(terminal.shown).decode() == says.replace("\n", "\r\n")
    else:
        done = run(argv, environ, cwd=place.cwd)
        assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", says)
    session = latest_session(server)
    assert (session["command"], session["exit_code"]) == ([name], code)
    assert stored_output(server, session)["stderr"].decode() == says


def test_always_gives_two_terminals_that_change_no_byte(place: Place, server: Server) -> None:
    """Told apart, unchanged: though nothing outside is a terminal."""
    argv = place.wrapped(place.probe, "isatty", "bytes", "err", "err")
    done = run(argv, place.environ(server, tty="always"))
    expected = b"isatty 0 1 1\n" + bytes(range(256)) + b"\r\n\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"err\n")
    stored = stored_output(server, latest_session(server))
    assert (stored["stdout"], stored["stderr"]) == (expected, b"err\n")


def test_always_makes_libc_flush_each_line(tmp_path: Path, server: Server) -> None:
    environ = shipping_environ(server, tmp_path / "spool", tty="always")
    program = "import sys; print('first'); sys.stdin.read()"
    with subprocess.Popen(
        [*LOG_SHIPPER, sys.executable, "-c", program],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"first\n"
        process.stdin.close()
    assert process.returncode == 0


def test_never_leaves_the_terminal_to_be_read_and_nothing_else(
    place: Place, server: Server
) -> None:
    argv = place.wrapped(place.probe, "isatty", "read")
    with Terminal(argv, place.environ(server, tty="never"), shell=True) as terminal:
        terminal.type("typed\n")
        assert terminal.wait() == 0
        assert b"isatty 1 0 0\r\n" in terminal.shown
        assert b"read typed\r\n" in terminal.shown


def test_one_pipe_for_both_streams_keeps_their_order(place: Place, server: Server) -> None:
    words = [word for n in range(1, 10) for word in ("say", f"out{n}", "err", f"err{n}")]
    done = subprocess.run(
        place.wrapped(place.probe, *words),
        env=place.environ(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )
    expected = b"".join(b"out%d\nerr%d\n" % (n, n) for n in range(1, 10))
    assert done.stdout == expected
    assert stored_output(server, latest_session(server))["stdout"] == expected


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_the_program_cannot_read_the_token(tmp_path: Path, server: Server, tty: bool) -> None:
    """Neither in its own environment nor in /proc, of the wrapper or of the monitor between."""
    script = "env; for p in $PPID /proc/[0-9]*; do cat /proc/${p##*/}/environ /proc/${p##*/}/cmdline; done"
    argv = [*LOG_SHIPPER, "sh", "-c", f"({script}) 2>/dev/null | tr '\\0' '\\n'"]
    environ = {
        name: value
        for name, value in shipping_environ(server, tmp_path / "spool").items()
        if name.startswith("_PRIVATE") or name in ("PATH", "PYTHONPATH")
    }
    if tty:
        with Terminal(argv, environ, shell=True) as terminal:
            assert terminal.wait() == 0
            shown = bytes(terminal.shown)
    else:
        shown = run(argv, environ).stdout
    # The shell that stands for the user's and was given the token as well is not ours to conceal.
    wrappers = [line for line in shown.splitlines() if b"main_log_shipper" in line]
    assert wrappers
    assert b"_PRIVATE_ANVILOPS_LOG_TOKEN=***" in shown
    if not tty:
        assert server.state.ingest_token.encode() not in shown


def test_run_takes_options_only_before_the_command(tmp_path: Path) -> None:
    environ = {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(tmp_path)}
    for words in (["echo", "--tty", "never", "-h"], ["--", "echo", "--tty", "never", "-h"]):
        done = run([*PTYSHIPPER, "run", "--tty", "auto", *words], environ)
        assert (done.returncode, done.stdout) == (0, b"--tty never -h\n")
    done = run([*PTYSHIPPER, "run", "--spool-max", "huge", "true"], environ)
    assert (done.returncode, done.stderr) == (
        2,
        b"ptyshipper: --spool-max must be a whole number\n",
    )
