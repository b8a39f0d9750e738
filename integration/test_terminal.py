"""The terminal outside can't tell either: its modes, its size, its keys, its job control."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import until
from tests.support.server import Server, running_server
from tests.support.terminal import Terminal, only_child
from tests.support.wrapping import (
    BARE_ENVIRON,
    LOG_SHIPPER,
    PTYSHIPPER,
    run,
    shipping_environ,
    stored_output,
)

PROMPT = "PROMPT>"


@pytest.fixture
def environ(tmp_path: Path, server: Server) -> dict[str, str]:
    (tmp_path / "inputrc").write_text("set enable-bracketed-paste off\n")
    shell = {"PS1": PROMPT, "INPUTRC": str(tmp_path / "inputrc"), "HISTFILE": "/dev/null"}
    return shipping_environ(server, tmp_path / "spool") | shell


@pytest.fixture
def shell(environ: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    """bash, typed at: the wrapper is its command ``W``."""
    command = tmp_path / "bin" / "W"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join(LOG_SHIPPER)} "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{environ['PATH']}"
    with Terminal(["bash", "--norc", "--noprofile", "-i"], environ | {"PATH": path}) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def modes(terminal: Terminal) -> list[object]:
    """What restoring means: all of termios but the speeds."""
    return terminal.attributes()[:4]


class TestModes:
    """Raw while the program is in the foreground, and as before on every way out."""

    @pytest.mark.parametrize(
        "how", ["exit", "SIGTERM", "SIGHUP", "SIGKILL of the program", "SIGSEGV"]
    )
    def test_are_restored_however_it_ends(self, environ: dict[str, str], how: str) -> None:
        script = {
            "exit": "echo ready; read x",
            "SIGTERM": "echo ready; kill -TERM $PPID_OF_WRAPPER; sleep 60",
        }.get(how, "echo ready; sleep 60")
        with Terminal(
            [*LOG_SHIPPER, "sh", "-c", script.replace("kill -TERM $PPID_OF_WRAPPER; ", "")], environ
        ) as terminal:
            before = modes(terminal)
            terminal.expect("ready")
            until(lambda: modes(terminal) != before, "the terminal is raw")
            if how == "exit":
                terminal.type("\n")
            elif how == "SIGKILL of the program":
                os.kill(only_child(terminal.pid), signal.SIGKILL)
            else:
                os.kill(terminal.pid, signal.Signals[how])
            expected = {"exit": 0, "SIGKILL of the program": 137}.get(how)
            assert terminal.wait() == (128 + signal.Signals[how] if expected is None else expected)
            assert modes(terminal) == before

    def test_are_not_touched_from_the_background(self, shell: Terminal) -> None:
        before = None
        shell.type("W sh -c 'echo begun; sleep 0.3; echo done' &\n")
        shell.expect("begun")
        before = modes(shell)
        shell.expect("done")
        assert modes(shell) == before

    def test_the_program_has_the_terminals_own(self, environ: dict[str, str]) -> None:
        shown = []
        for wrapper in ([], LOG_SHIPPER):
            with Terminal([*wrapper, "stty", "-a"], environ, rows=31, cols=97) as terminal:
                attributes = termios.tcgetattr(terminal.slave)
                assert terminal.wait() == 0
                shown.append(bytes(terminal.shown))
                assert attributes
        assert shown[1] == shown[0]
        assert b"rows 31; columns 97" in shown[1]


class TestSize:
    """Every change arrives, an equal one included; no size at all is no change."""

    PRINTER = (
        "import os, signal, sys\n"
        "def show(*_): s = os.get_terminal_size(0); print('size', s.lines, s.columns, flush=True)\n"
        "signal.signal(signal.SIGWINCH, show); show()\n"
        "while True: signal.pause()\n"
    )

    @pytest.mark.parametrize("shell", [False, True], ids=["leads-session", "job-of-a-shell"])
    def test_changes_arrive(self, environ: dict[str, str], server: Server, shell: bool) -> None:
        argv = [*LOG_SHIPPER, sys.executable, "-c", self.PRINTER]
        with Terminal(argv, environ, shell=shell, rows=24, cols=80) as terminal:
            terminal.expect("size 24 80")
            for rows, cols in ((25, 80), (50, 132), (1, 1), (200, 500)):
                terminal.resize(rows, cols)
                terminal.expect(f"size {rows} {cols}")
            wrapper = only_child(terminal.pid) if shell else terminal.pid
            for _ in range(3):
                os.kill(wrapper, signal.SIGWINCH)
                terminal.expect("size 200 500")
            terminal.resize(0, 0)
            time.sleep(0.1)
            terminal.resize(40, 100)
            assert b"size 0 0" not in terminal.expect("size 40 100")
            os.kill(wrapper, signal.SIGTERM)
            assert terminal.wait() == 143

    @pytest.mark.parametrize("size", [(24, 80, 800, 480), (0, 0, 0, 0)], ids=str)
    def test_the_program_begins_with_the_terminals_own(
        self, environ: dict[str, str], tmp_path: Path, size: tuple[int, int, int, int]
    ) -> None:
        """Pixels included, and none at all where the terminal has none yet, as under a runtime."""
        program = tmp_path / "size.py"
        program.write_text(
            "import fcntl, struct, termios\n"
            "print(struct.unpack('HHHH', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))\n"
        )
        argv = [*LOG_SHIPPER, sys.executable, str(program)]
        with Terminal(argv, environ, rows=size[0], cols=size[1], pixels=size[2:]) as terminal:
            terminal.expect(str(size))
            assert terminal.wait() == 0


class TestKeys:
    """What is typed arrives as typed; what the line discipline does, the program's own does."""

    def test_a_paste_of_10_mb_passes_through_an_echoing_program(
        self, environ: dict[str, str]
    ) -> None:
        line = b"0123456789abcdef" * 4 + b"\n"
        paste = line * (10_000_000 // len(line))
        program = (
            "import os, sys, termios, hashlib\n"
            "a = termios.tcgetattr(0); a[3] &= ~(termios.ICANON | termios.ECHO)\n"
            "termios.tcsetattr(0, termios.TCSANOW, a)\n"
            f"print('ready', flush=True); left = {len(paste)}; h = hashlib.sha256()\n"
            "while left: d = os.read(0, min(left, 65536)); left -= len(d); h.update(d); os.write(1, d)\n"
            "print('sum', h.hexdigest(), flush=True)\n"
        )
        import hashlib

        with Terminal([*LOG_SHIPPER, sys.executable, "-c", program], environ) as terminal:
            terminal.expect("ready")
            terminal.type(paste)
            terminal.expect("sum " + hashlib.sha256(paste).hexdigest())
            assert terminal.wait() == 0

    def test_a_line_of_30_kb_gets_through_as_it_does_bare(self, environ: dict[str, str]) -> None:
        lengths = []
        program = "import sys; print('ready', flush=True); print('got', len(sys.stdin.readline()))"
        for wrapper in ([], LOG_SHIPPER):
            with Terminal([*wrapper, sys.executable, "-c", program], environ) as terminal:
                terminal.expect("ready")
                terminal.type(b"x" * 30_000)
                time.sleep(0.3)
                terminal.type(b"\n")
                terminal.expect("got ")
                assert terminal.wait() == 0
                lengths.append(re.findall(rb"got (\d+)", bytes(terminal.shown)))
        assert lengths[1] == lengths[0]

    def test_end_of_file_ends_cat(self, environ: dict[str, str]) -> None:
        with Terminal([*LOG_SHIPPER, "cat"], environ) as terminal:
            terminal.type("abc")
            terminal.expect("abc")
            terminal.type("\x04")
            terminal.expect("abc")
            terminal.type("\x04")
            assert terminal.wait() == 0

    def test_interrupt_and_quit_are_the_programs(self, environ: dict[str, str]) -> None:
        for key, status in (("\x03", 130), ("\x1c", 131)):
            with Terminal(
                [*LOG_SHIPPER, "sh", "-c", "ulimit -c 0; echo ready; exec cat"], environ
            ) as terminal:
                terminal.expect("ready")
                terminal.type(key)
                assert terminal.wait() == status

    def test_stop_and_start_hold_the_output(self, environ: dict[str, str]) -> None:
        script = "echo ready; read x; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"
        with Terminal([*LOG_SHIPPER, "sh", "-c", script], environ) as terminal:
            terminal.expect("ready")
            terminal.type("\n")
            terminal.expect("line 5")
            terminal.type("\x13")
            time.sleep(0.3)
            terminal._take()
            held = len(terminal.shown)
            time.sleep(0.3)
            terminal._take()
            assert len(terminal.shown) == held
            terminal.type("\x11")
            until(lambda: terminal._take() and len(terminal.shown) > held + 100, "output goes on")
            os.kill(terminal.pid, signal.SIGKILL)


class TestJobControl:
    """A shell outside sees the wrapper do what the program would do."""

    def test_stops_and_continues(self, shell: Terminal) -> None:
        before = modes(shell)
        shell.type("W cat\n")
        until(lambda: modes(shell) != before, "the terminal is raw")
        shell.type("one\n")
        shell.expect("one\r\none\r\n")
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.expect(PROMPT)
        shell.type("stty -a | grep -o '.icanon'; fg\n")
        shell.expect(" icanon")
        until(lambda: not termios.tcgetattr(shell.slave)[3] & termios.ICANON, "it is raw again")
        shell.type("two\n")
        shell.expect("two\r\ntwo\r\n")
        shell.type("\x04")
        shell.expect(PROMPT)
        shell.type("echo status $?\n")
        shell.expect("status 0\r\n")

    def test_begins_in_the_background_and_is_stopped_for_input(self, shell: Terminal) -> None:
        shell.type("W sh -c 'echo asks; read x; echo got $x; exit 5' &\n")
        shell.expect("asks")
        time.sleep(0.2)
        shell.type("\n")
        shell.expect("Stopped")
        shell.type("fg\n")
        until(lambda: not termios.tcgetattr(shell.slave)[3] & termios.ICANON, "it is raw")
        shell.type("answer\n")
        shell.expect("got answer")
        shell.expect(PROMPT)
        shell.type("echo status $?\n")
        shell.expect("status 5\r\n")

    def test_goes_on_in_the_background(self, shell: Terminal) -> None:
        shell.type(
            "W sh -c 'i=0; while [ $i -lt 400 ]; do i=$((i+1)); sleep 0.01; done; echo reached the end'\n"
        )
        time.sleep(0.5)
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.type("bg\n")
        shell.expect("reached the end")
        shell.type("wait; echo all over\n")
        shell.expect("\nall over")
        assert b"Done" in shell.shown

    def test_a_shell_inside_has_job_control_of_its_own(self, shell: Terminal) -> None:
        shell.type("PS1='INNER>' W bash --norc --noprofile -i\n")
        shell.expect("INNER>")
        shell.type("sleep 60\n")
        time.sleep(0.3)
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.expect("INNER>")
        shell.type("kill %1; fg; wait; exit 9\n")
        shell.expect(PROMPT)
        shell.type("echo status $?\n")
        shell.expect("status 9\r\n")
        assert b"no job control" not in shell.shown

    def test_in_a_pipeline_the_terminal_is_the_others(self, shell: Terminal) -> None:
        """The wrapped program only prints; what is typed goes to the one that reads the terminal."""
        shell.type("W seq 5 | sh -c 'cat; echo asks; read x < /dev/tty; echo got $x'\n")
        shell.expect("asks")
        shell.type("typed\n")
        shell.expect("got typed")
        shell.expect(PROMPT)

    def test_at_the_end_of_a_pipeline_it_can_ask(self, shell: Terminal) -> None:
        shell.type("seq 3 | W sh -c 'cat; echo asks; read x < /dev/tty; echo got $x'\n")
        shell.expect("1\r\n2\r\n3\r\n")
        shell.expect("asks")
        shell.type("typed\n")
        shell.expect("got typed")
        shell.expect(PROMPT)

    def test_interrupted_in_a_pipeline(self, shell: Terminal) -> None:
        shell.type("W sleep 60 | cat\n")
        time.sleep(0.7)
        shell.type("\x03")
        shell.expect(PROMPT)
        shell.type("echo status ${PIPESTATUS[0]}\n")
        shell.expect("status 130\r\n")


def test_a_hang_up_reaches_the_program(environ: dict[str, str], tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo hup >> {told}; exit 3' HUP; echo ready; while :; do sleep 0.05; done"
    terminal = Terminal([*LOG_SHIPPER, "sh", "-c", script], environ)
    terminal.expect("ready")
    os.close(terminal.slave)
    os.close(terminal.master)
    until(told.exists, "the program is told")
    _, status = os.waitpid(terminal.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert told.read_text() == "hup\n"


def test_nothing_inherited_becomes_non_blocking(environ: dict[str, str], tmp_path: Path) -> None:
    import fcntl

    out_read, out_write = os.pipe()
    with Terminal(
        [*LOG_SHIPPER, "sh", "-c", "echo ready; read x"], environ, stdio=(None, out_write, None)
    ) as terminal:
        until(lambda: not termios.tcgetattr(terminal.slave)[3] & termios.ICANON, "it is raw")
        for fd in (terminal.slave, out_write):
            assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(out_write)
        terminal.type("\n")
        assert terminal.wait() == 0
    os.close(out_read)


def test_a_person_is_told_of_a_long_wait_and_can_leave(tmp_path: Path) -> None:
    """The backend is gone: the terminal is restored first, one line says what goes on, ^C ends it,
    and the program's status stands."""
    data = tmp_path / "data"
    with running_server(tmp_path) as server:
        server.kill()
        argv = [*PTYSHIPPER, "run", "--data", str(data), "--", "sh", "-c", "echo over; exit 7"]
        with Terminal(argv, BARE_ENVIRON) as terminal:
            before = modes(terminal)
            terminal.expect("over")
            terminal.expect("waiting for the backend")
            assert modes(terminal) == before
            started = time.monotonic()
            terminal.type("\x03")
            assert terminal.wait() == 7
            assert time.monotonic() - started < 3
            assert b"not all of it delivered yet" in terminal.shown
        server.start()
        again = [*PTYSHIPPER, "run", "--data", str(data), "--", "true"]
        assert run(again, BARE_ENVIRON).returncode == 0
        stored = [
            stored_output(server, s)["tty"] for s in server.get("/api/sessions")[1]["sessions"]
        ]
        assert b"over\r\n" in stored
