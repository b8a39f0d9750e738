"""The program can't tell: the same facts, bare and wrapped, on every kind of stdio."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import REPOSITORY, Server
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

REPORTER = [sys.executable, "-I", "-S", str(REPOSITORY / "tests/support/reporter.py")]


def report_on(
    tmp_path: Path,
    name: str,
    wrapper: list[str],
    environ: dict[str, str],
    ttys: tuple[bool, bool, bool],
    *,
    shell: bool = False,
) -> tuple[dict[str, Any], int, dict[int, bytes], bytes]:
    """Run the reporter on a terminal or pipe for each of 0, 1, 2: its report, its exit status, what
    came through the pipes, and what the terminal showed."""
    path = tmp_path / name
    pipes = {fd: os.pipe() for fd in range(3) if not ttys[fd]}
    inner = {fd: ends[0 if fd == 0 else 1] for fd, ends in pipes.items()}
    with Terminal(
        [*wrapper, *REPORTER, str(path), "7"],
        environ,
        stdio=(inner.get(0), inner.get(1), inner.get(2)),
        shell=shell,
        rows=33,
        cols=111,
    ) as terminal:
        for fd in inner.values():
            os.close(fd)
        status = terminal.wait()
        shown = bytes(terminal.shown)
    got = {fd: read_all(ends[0]) for fd, ends in pipes.items() if fd}
    if 0 in pipes:
        os.close(pipes[0][1])
    return json.loads(path.read_text()), status, got, shown


def read_all(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    report["argv"] = [word for word in report["argv"] if not word.endswith(("bare", "wrapped"))]
    return report


@pytest.mark.parametrize("shell", [False, True], ids=["leads-session", "job-of-a-shell"])
@pytest.mark.parametrize(
    "ttys", list(product([True, False], repeat=3)), ids=lambda t: "".join("tp"[not x] for x in t)
)
def test_a_program_finds_the_same_world(
    tmp_path: Path, server: Server, ttys: tuple[bool, bool, bool], shell: bool
) -> None:
    if shell and not any(ttys):
        pytest.skip("a shell's job is one by its terminal")
    environ = shipping_environ(server, tmp_path / "spool")
    bare = report_on(tmp_path, "bare", [], BARE_ENVIRON, ttys, shell=shell)
    wrapped = report_on(tmp_path, "wrapped", LOG_SHIPPER, environ, ttys, shell=shell)
    expected, found = comparable(bare[0]), comparable(wrapped[0])
    for report in (expected, found):
        if not any(ttys):
            # Without a terminal it stays in our group and session, so that what is sent to those
            # reaches all that it would (DESIGN.md).
            del report["leads_session"], report["leads_group"]
        elif shell and not (ttys[0] and ttys[1]):
            # A pipe on 0 or 1 makes it a pipeline, whose others use the terminal: the program begins
            # in the background of its own and comes to the front when it asks for it (DESIGN.md).
            for facts in report["terminals"].values():
                del facts["in_foreground"]
    assert found == expected
    assert wrapped[1:] == bare[1:]
    session = latest_session(server)
    assert (session["state"], session["exit_code"]) == ("exited", 7)
    assert session["tty"] == ttys[1]
    stored = stored_output(server, session)
    assert stored["stdout"] == bare[2].get(1, b"")
    assert stored["stderr"] == bare[2].get(2, b"")
    assert stored["tty"] == bare[3]


def test_an_odd_inheritance_arrives(tmp_path: Path, server: Server) -> None:
    """A blocked and an ignored signal, a umask, a limit, a niceness, a group, descriptors above 2."""
    read_end, write_end = os.pipe()
    high = os.dup2(write_end, 40)

    def inherit() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMIN + 3})
        for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2):
            signal.signal(signo, signal.SIG_IGN)
        os.umask(0o137)
        resource.setrlimit(resource.RLIMIT_CORE, (12_345, 54_321))
        os.nice(3)
        os.setgroups([5, 77])

    reports = []
    for name, wrapper, environ in (
        ("bare", [], BARE_ENVIRON),
        ("wrapped", LOG_SHIPPER, shipping_environ(server, tmp_path / "spool")),
    ):
        path = tmp_path / name
        done = run(
            [*wrapper, *REPORTER, str(path)],
            {**environ, "ODD": "a=b\n", "LC_ALL": "C", "LANG": ""},
            preexec_fn=inherit,
            pass_fds=[high, read_end],
            cwd=tmp_path,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"to stdout\n", b"to stderr\n")
        reports.append(comparable(json.loads(path.read_text())))
    os.close(read_end), os.close(write_end), os.close(high)
    assert reports[1] == reports[0]
    assert reports[0]["status"]["Umask"] == ["0137"]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_descriptors_stay_closed(
    tmp_path: Path, server: Server, closed: tuple[int, ...]
) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    reports = []
    for name, wrapper, environ in (
        ("bare", [], BARE_ENVIRON),
        ("wrapped", LOG_SHIPPER, shipping_environ(server, tmp_path / "spool")),
    ):
        path = tmp_path / name
        done = run([*wrapper, *REPORTER, str(path)], environ, preexec_fn=close)
        reports.append((comparable(json.loads(path.read_text())), done.stdout, done.stderr))
    assert reports[1] == reports[0]


def ends_with(argv: list[str], environ: dict[str, str], *, tty: bool) -> int:
    if not tty:
        return run(argv, environ).returncode
    with Terminal(argv, environ) as terminal:
        return terminal.wait()


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_every_exit_code_comes_back(tmp_path: Path, server: Server, tty: bool) -> None:
    environ = shipping_environ(server, tmp_path / "spool", deployment_id=str(900 + tty))
    codes = [0, 1, 2, 7, 126, 127, 128, 129, 137, 143, 255] if tty else list(range(256))

    def end_with(code: int) -> int:
        return ends_with([*LOG_SHIPPER, "sh", "-c", f"exit {code}"], environ, tty=tty)

    if tty:  # a pty is forked by this process, which then has no threads
        assert [end_with(code) for code in codes] == codes
    else:
        with ThreadPoolExecutor(4) as several:
            assert list(several.map(end_with, codes)) == codes
    stored = [
        s
        for s in server.get("/api/sessions?limit=1000")[1]["sessions"]
        if s["deployment_id"] == 900 + tty
    ]
    assert sorted(session["exit_code"] for session in stored) == codes


FATAL = [
    s for s in sorted(signal.valid_signals())
    if s not in (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP,
                 signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
]  # fmt: skip


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_every_fatal_signal_comes_back_as_a_shell_says_it(
    tmp_path: Path, server: Server, tty: bool
) -> None:
    environ = shipping_environ(server, tmp_path / "spool")
    for signo in FATAL if not tty else FATAL[::7]:
        argv = [
            *LOG_SHIPPER,
            sys.executable,
            "-c",
            f"import os; os.kill(os.getpid(), {int(signo)})",
        ]
        if signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            argv = [*LOG_SHIPPER, "sh", "-c", f"kill -{int(signo)} $$"]
        assert ends_with(argv, environ, tty=tty) == 128 + signo
        session = latest_session(server)
        assert (session["exit_code"], session["exit_signal"]) == (None, signo)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("no-such-program", 127, "ptyshipper: no-such-program: command not found\n"),
        ("./nothing/here", 127, "ptyshipper: ./nothing/here: no such file\n"),
        ("/etc/passwd", 126, "ptyshipper: /etc/passwd: can't be executed: Permission denied\n"),
        ("/etc", 126, "ptyshipper: /etc: can't be executed: Permission denied\n"),
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
    tmp_path: Path, server: Server, name: str, code: int, says: str, tty: bool
) -> None:
    (tmp_path / "text").write_text("echo never\n")
    (tmp_path / "lost").write_text("#!/no/such/interpreter\n")
    for path in ("text", "lost"):
        (tmp_path / path).chmod(0o755)
    environ = shipping_environ(server, tmp_path / "spool")
    if tty:
        with Terminal([*LOG_SHIPPER, name], environ, shell=True, cwd=str(tmp_path)) as terminal:
            assert terminal.wait() == code
            assert bytes(terminal.shown).decode() == says.replace("\n", "\r\n")
    else:
        done = run([*LOG_SHIPPER, name], environ, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", says)
    session = latest_session(server)
    assert (session["command"], session["exit_code"]) == ([name], code)
    assert stored_output(server, session)["stderr"].decode() == says


def test_always_gives_two_terminals_that_change_no_byte(tmp_path: Path, server: Server) -> None:
    """Line-buffered, told apart, unchanged: though nothing outside is a terminal."""
    program = (
        "import sys, os, time; print(os.isatty(0), os.isatty(1), os.isatty(2));"
        "sys.stdout.flush(); os.write(1, bytes(range(256)) + b'\\r\\n\\n'); os.write(2, b'err\\n')"
    )
    environ = shipping_environ(server, tmp_path / "spool", tty="always")
    done = run([*LOG_SHIPPER, sys.executable, "-c", program], environ)
    expected = b"False True True\n" + bytes(range(256)) + b"\r\n\n"
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
    tmp_path: Path, server: Server
) -> None:
    environ = shipping_environ(server, tmp_path / "spool", tty="never")
    program = "import os; print(os.isatty(0), os.isatty(1), os.isatty(2), input())"
    with Terminal([*LOG_SHIPPER, sys.executable, "-c", program], environ, shell=True) as terminal:
        terminal.type("typed\n")
        assert terminal.wait() == 0
        assert b"True False False typed\r\n" in terminal.shown


def test_one_pipe_for_both_streams_keeps_their_order(tmp_path: Path, server: Server) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out$i; echo err$i >&2; done"
    done = subprocess.run(
        [*LOG_SHIPPER, "sh", "-c", script],
        env=shipping_environ(server, tmp_path / "spool"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )
    expected = b"".join(b"out%d\nerr%d\n" % (i, i) for i in range(1, 10))
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
