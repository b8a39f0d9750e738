"""Signals, orphans, the last bytes, and a reader that goes: what is said of each holds as PID 1 too."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ptyshipper.child.signals import POLICIES, Policy
from ptyshipper.records import Kind, decode, read_signalled
from tests.support.patience import PATIENCE_S, until
from tests.support.server import REPOSITORY, Server
from tests.support.terminal import Terminal, only_child
from tests.support.wrapping import (
    BARE_ENVIRON,
    LOG_SHIPPER,
    latest_session,
    run,
    shipping_environ,
    stored_output,
)

PRINTER = [sys.executable, "-I", "-S", str(REPOSITORY / "tests/support/signal_printer.py")]
SENT = [
    s
    for s in sorted(signal.valid_signals())
    if s not in (signal.SIGKILL, signal.SIGSTOP) and POLICIES.get(s) != Policy.CHILD
]


class Started:
    """A wrapped signal printer on pipes, read line by line."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str], **more: object) -> None:
        self.process = subprocess.Popen(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            **more,  # type: ignore[call-overload]
        )
        self.expect("ready")

    def line(self) -> str:
        line: bytes = self.process.stdout.readline()
        return line.decode().rstrip("\n")

    def expect(self, text: str) -> None:
        assert self.line() == text

    def end(self) -> None:
        """Kill the program, which no other signal ends, and see the wrapper out."""
        os.kill(only_child(self.process.pid), signal.SIGKILL)
        assert self.process.wait(PATIENCE_S) == 137
        self.process.stdout.close()


def test_every_signal_arrives_once_and_in_order(tmp_path: Path, server: Server) -> None:
    wrapped = Started([*LOG_SHIPPER, *PRINTER], shipping_environ(server, tmp_path / "spool"))
    for signo in SENT:
        wrapped.process.send_signal(signo)
        wrapped.expect(f"signal {int(signo)}")
    for signo in (signal.SIGRTMIN + 5, signal.SIGRTMIN, signal.SIGRTMAX):
        for _ in range(50):
            wrapped.process.send_signal(signo)
        for _ in range(50):
            wrapped.expect(f"signal {int(signo)}")
    wrapped.process.send_signal(signal.SIGCHLD)
    wrapped.process.send_signal(signal.SIGUSR1)
    wrapped.expect(f"signal {int(signal.SIGUSR1)}")
    wrapped.end()
    session = latest_session(server)
    recorded = [
        read_signalled(record.payload)
        for record in decode(server.records(bytes.fromhex(session["id"])))
        if record.kind == Kind.SIGNALLED
    ]
    assert recorded[: len(SENT)] == [int(s) for s in SENT]


def test_a_burst_of_queued_signals_is_neither_lost_nor_reordered(
    tmp_path: Path, server: Server
) -> None:
    """Real-time signals queue, lowest number first (signal(7)); the wrapper is stopped meanwhile."""
    environ = shipping_environ(server, tmp_path / "spool")
    expected = [signal.SIGRTMIN + n for n in range(10) for _ in range(20)]
    wrapped = Started([*LOG_SHIPPER, *PRINTER], environ)
    wrapped.process.send_signal(signal.SIGSTOP)
    for _ in range(20):
        for signo in range(signal.SIGRTMIN, signal.SIGRTMIN + 10):
            wrapped.process.send_signal(signo)
    wrapped.process.send_signal(signal.SIGCONT)
    got = [wrapped.line() for _ in range(len(expected) + 1)]
    assert sorted(got) == sorted(
        [f"signal {int(s)}" for s in expected] + [f"signal {int(signal.SIGCONT)}"]
    )
    wrapped.end()


@pytest.mark.parametrize("delay_ms", [*range(0, 60, 3), 80, 100, 150])
def test_a_signal_during_the_start_is_not_lost(tmp_path: Path, delay_ms: int) -> None:
    """Whenever SIGTERM comes, it ends the program or the wrapper before there is one. No backend:
    the test is of the start alone."""
    process = subprocess.Popen(
        [*LOG_SHIPPER, "sleep", "30"], env=BARE_ENVIRON, stderr=subprocess.DEVNULL
    )
    time.sleep(delay_ms / 1000)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) in (143, -signal.SIGTERM)


def test_a_key_reaches_a_program_on_pipes_once(tmp_path: Path, server: Server) -> None:
    """The terminal signals the whole group, of which the program is part: once is enough."""
    read_end, write_end = os.pipe()
    environ = shipping_environ(server, tmp_path / "spool")
    null = os.open(os.devnull, os.O_RDWR)
    script = f"{' '.join(PRINTER)}"
    with Terminal(
        [*LOG_SHIPPER, "sh", "-c", f"exec {script}"],
        environ,
        stdio=(null, write_end, write_end),
        shell=False,
    ) as terminal:
        os.close(write_end)
        out = open(read_end, "rb")  # noqa: SIM115  closed below, after the terminal's end
        assert out.readline() == b"ready\n"
        for _ in range(3):
            terminal.type("\x03")
            assert out.readline() == b"signal 2\n"
        os.kill(terminal.pid, signal.SIGUSR2)
        assert out.readline() == b"signal 12\n"
        os.kill(only_child(terminal.pid), signal.SIGKILL)
        assert terminal.wait() == 137
        out.close()
    os.close(null)


needs_unshare = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare(1)"
)
AS_PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@needs_unshare
def test_as_pid_1_it_forwards_and_reaps(tmp_path: Path, server: Server) -> None:
    """Orphans become its children; none stays a zombie."""
    program = tmp_path / "orphans.sh"
    program.write_text(
        "i=0; while [ $i -lt 20 ]; do (sleep 0.0$i & exec true); i=$((i+1)); done\n"
        "sleep 0.5; echo zombies $(ps -e -o stat= | grep -c Z); echo pid $PPID\n"
        "trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 0.05; done\n"
    )
    process = subprocess.Popen(
        [*AS_PID_1, *LOG_SHIPPER, "sh", str(program)],
        env=shipping_environ(server, tmp_path / "spool"),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"zombies 0\n"
    assert process.stdout.readline() == b"pid 1\n"
    assert process.stdout.readline() == b"ready\n"
    os.kill(only_child(process.pid), signal.SIGTERM)
    assert process.stdout.read() == b"term\n"
    process.stdout.close()
    process.wait(PATIENCE_S)
    until(lambda: latest_session(server)["state"] == "exited", "its end is stored")
    assert latest_session(server)["exit_code"] == 4


class TestDraining:
    """Nothing that was written is lost at the end, and nothing that hangs on holds it up."""

    @pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
    def test_what_comes_after_the_exit_is_taken(
        self, tmp_path: Path, server: Server, tty: bool
    ) -> None:
        argv = [*LOG_SHIPPER, "bash", "-c", "trap '' HUP; (sleep .2; echo late) & echo early"]
        environ = shipping_environ(server, tmp_path / "spool")
        if tty:
            with Terminal(argv, environ) as terminal:
                assert terminal.wait() == 0
                assert bytes(terminal.shown) == b"early\r\nlate\r\n"
        else:
            assert run(argv, environ).stdout == b"early\nlate\n"
        assert b"late" in stored_output(server, latest_session(server))["all"]

    @pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
    @pytest.mark.parametrize("left", ["sleep 30", "yes"])
    def test_what_stays_behind_holds_it_up_for_a_bounded_time(
        self, tmp_path: Path, server: Server, tty: bool, left: str
    ) -> None:
        argv = [*LOG_SHIPPER, "bash", "-c", f"trap '' HUP; setsid {left} & echo $!; exit 6"]
        environ = shipping_environ(server, tmp_path / "spool", drain_timeout_s="0.5")
        started = time.monotonic()
        if tty:
            with Terminal(argv, environ) as terminal:
                assert terminal.wait() == 6
                shown = bytes(terminal.shown)
        else:
            done = run(argv, environ)
            assert done.returncode == 6
            shown = done.stdout
        assert time.monotonic() - started < 8
        found = re.search(rb"(\d+)\r?\n", shown)
        assert found
        subprocess.run(["pkill", "-s", found[1]], check=False)

    def test_twenty_lines_and_out_a_hundred_times(self, tmp_path: Path, server: Server) -> None:
        expected = b"".join(b"line %d\n" % n for n in range(20))
        environ = shipping_environ(server, tmp_path / "spool")
        script = "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); done"
        for n in range(100):
            if n % 2:
                assert run([*LOG_SHIPPER, "sh", "-c", script], environ).stdout == expected
                stored = stored_output(server, latest_session(server))["stdout"]
            else:
                with Terminal([*LOG_SHIPPER, "sh", "-c", script], environ) as terminal:
                    assert terminal.wait() == 0
                    assert bytes(terminal.shown) == expected.replace(b"\n", b"\r\n")
                stored = stored_output(server, latest_session(server))["tty"].replace(
                    b"\r\n", b"\n"
                )
            assert stored == expected


class TestReaderGone:
    """A pipe whose reader left breaks for the program as it would have bare."""

    @pytest.mark.parametrize("program", ["yes", "while echo y; do :; done", "seq 100000000"])
    def test_the_program_ends_as_bare(self, tmp_path: Path, server: Server, program: str) -> None:
        environ = shipping_environ(server, tmp_path / "spool")
        statuses = []
        for wrapper, env in (([], BARE_ENVIRON), (LOG_SHIPPER, environ)):
            process = subprocess.Popen(
                [*wrapper, "bash", "-c", program],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert process.stdout is not None
            got = os.read(process.stdout.fileno(), 100)
            process.stdout.close()
            status = process.wait(PATIENCE_S)
            statuses.append(128 - status if status < 0 else status)
        assert statuses[1] == statuses[0] == 141
        stored = stored_output(server, latest_session(server))["stdout"]
        assert stored.startswith(got)

    def test_the_other_stream_goes_on(self, tmp_path: Path, server: Server) -> None:
        program = (
            "import os, signal, sys, time\n"
            "signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n"
            "os.write(1, b'first\\n'); sys.stdin.read()\n"
            "for n in range(500):\n"
            "    try: os.write(1, b'x')\n"
            "    except BrokenPipeError: break\n"
            "    time.sleep(.01)\n"
            "os.write(2, b'errno EPIPE after the reader went\\n')\n"
        )
        process = subprocess.Popen(
            [*LOG_SHIPPER, sys.executable, "-c", program],
            env=shipping_environ(server, tmp_path / "spool"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b"errno EPIPE after the reader went\n"
        process.stderr.close()
        assert process.wait(PATIENCE_S) == 0
        stored = stored_output(server, latest_session(server))
        assert stored["stdout"].startswith(b"first\n")
        assert stored["stderr"] == b"errno EPIPE after the reader went\n"

    def test_a_stream_that_the_program_closes_ends_for_its_reader(
        self, tmp_path: Path, server: Server
    ) -> None:
        process = subprocess.Popen(
            [*LOG_SHIPPER, "bash", "-c", "echo last; exec >&-; read x; exit 8"],
            env=shipping_environ(server, tmp_path / "spool"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read() == b"last\n"
        process.stdout.close()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 8


def test_a_stalled_reader_stalls_the_program_and_signals_still_pass(
    tmp_path: Path, server: Server
) -> None:
    wrapped = subprocess.Popen(
        [
            *LOG_SHIPPER,
            "bash",
            "-c",
            "trap 'echo term >&2; exit 3' TERM; while :; do echo 0123456789; done",
        ],
        env=shipping_environ(server, tmp_path / "spool"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert wrapped.stdout is not None
    assert wrapped.stderr is not None

    def size() -> int:
        return int(latest_session(server)["bytes"])

    until(lambda: size() > 50_000, "something is stored")
    time.sleep(1)
    first = size()
    time.sleep(0.5)
    assert size() == first < 1_000_000
    wrapped.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    rest = wrapped.stdout.read()
    assert wrapped.stderr.read().endswith(b"term\n")  # bash may complain of the interrupted write
    assert wrapped.wait(PATIENCE_S) == 3
    assert rest == stored_output(server, latest_session(server))["stdout"]
    wrapped.stdout.close()
    wrapped.stderr.close()


def test_an_alarm_set_before_the_exec_still_rings(tmp_path: Path, server: Server) -> None:
    """``alarm(2)`` survives an exec and not a fork: it rings here, and is passed on."""
    argv = ["perl", "-e", "alarm 1; exec @ARGV", "--", *LOG_SHIPPER, "sleep", "20"]
    assert (
        run(argv, shipping_environ(server, tmp_path / "spool")).returncode == 128 + signal.SIGALRM
    )


class TestEnds:
    """Ends that a review broke."""

    def test_a_slow_reader_gets_all_of_a_finished_program(
        self, tmp_path: Path, server: Server
    ) -> None:
        """However long it takes: the time for draining is for what others write."""
        environ = shipping_environ(server, tmp_path / "spool", drain_timeout_s="0.3")
        process = subprocess.Popen(
            [*LOG_SHIPPER, "seq", "23000"],
            env=environ,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        time.sleep(1.5)
        data = process.stdout.read()
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
        assert data == b"".join(b"%d\n" % n for n in range(1, 23_001))
        assert stored_output(server, latest_session(server))["stdout"] == data

    def test_a_slow_terminal_shows_all_of_a_finished_program(
        self, tmp_path: Path, server: Server
    ) -> None:
        environ = shipping_environ(server, tmp_path / "spool", drain_timeout_s="0.3")
        with Terminal([*LOG_SHIPPER, "seq", "8000"], environ) as terminal:
            time.sleep(1.5)
            assert terminal.wait() == 0
            expected = b"".join(b"%d\r\n" % n for n in range(1, 8_001))
            assert bytes(terminal.shown) == expected
        assert stored_output(server, latest_session(server))["tty"] == expected

    def test_being_told_to_go_while_a_reader_stalls_records_all(
        self, tmp_path: Path, server: Server
    ) -> None:
        process = subprocess.Popen(
            [*LOG_SHIPPER, "sh", "-c", "sleep 0.3; seq 17000"],
            env=shipping_environ(server, tmp_path / "spool"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: has_child(process.pid), "the program has begun")
        until(lambda: not has_child(process.pid), "the program has ended")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout is not None
        process.stdout.close()
        expected = b"".join(b"%d\n" % n for n in range(1, 17_001))
        assert stored_output(server, latest_session(server))["stdout"] == expected

    def test_a_program_that_stops_itself_is_continued_by_whom_it_arranged(
        self, tmp_path: Path, server: Server
    ) -> None:
        script = "(sleep 0.4; kill -CONT $$) & kill -STOP $$; echo done"
        done = run(
            [*LOG_SHIPPER, "bash", "-c", script], shipping_environ(server, tmp_path / "spool")
        )
        assert (done.returncode, done.stdout) == (0, b"done\n")

    def test_killed_it_takes_a_terminals_session_along(
        self, tmp_path: Path, server: Server
    ) -> None:
        """The terminal of the program is gone, and it is told so. Nothing is left (see conftest)."""
        environ = shipping_environ(server, tmp_path / "spool")
        for _ in range(8):
            with Terminal(
                [*LOG_SHIPPER, "sh", "-c", "echo $$; exec sleep 60"], environ, shell=True
            ) as terminal:
                program = int(terminal.expect("\n").split()[-1])
                os.kill(only_child(terminal.pid), signal.SIGKILL)
                assert terminal.wait() == 137
                until(lambda pid=program: not os.path.exists(f"/proc/{pid}"), "the program is gone")

    @pytest.mark.parametrize("shell", [False, True], ids=["leads-session", "job-of-a-shell"])
    def test_a_hang_up_is_told_once(self, tmp_path: Path, server: Server, shell: bool) -> None:
        environ = shipping_environ(server, tmp_path / "spool")
        for n in range(6):
            told = tmp_path / f"told{n}"
            program = (
                "import signal, time\n"
                f"signal.signal(signal.SIGHUP, lambda *_: open({str(told)!r}, 'a').write('hup '))\n"
                "print('ready', flush=True); end = time.monotonic() + 1.2\n"
                "while time.monotonic() < end: time.sleep(0.05)\n"
            )
            terminal = Terminal([*LOG_SHIPPER, sys.executable, "-c", program], environ, shell=shell)
            terminal.expect("ready")
            os.close(terminal.slave)
            os.close(terminal.master)
            os.waitpid(terminal.pid, 0)
            until(told.exists, "it is told")
            time.sleep(0.1)
            assert told.read_text() == "hup "

    def test_odd_entries_of_the_environment_do_not_keep_it_from_starting(
        self, tmp_path: Path, server: Server
    ) -> None:
        """Without a name, without a value, twice: os.execve would refuse the first."""
        exec_odd = (
            "import ctypes, sys\n"
            "argv = [a.encode() for a in sys.argv[1:]] + [None]\n"
            "import os; env = [b'%s=%s' % e for e in os.environb.items()]\n"
            "env += [b'=a=b', b'NOVALUE', b'TWICE=1', b'TWICE=2', None]\n"
            "array = lambda words: (ctypes.c_char_p * len(words))(*words)\n"
            "ctypes.CDLL(None).execve(argv[0], array(argv), array(env))\n"
        )
        done = run(
            [sys.executable, "-c", exec_odd, *LOG_SHIPPER, "sh", "-c", "echo $TWICE"],
            shipping_environ(server, tmp_path / "spool"),
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


def has_child(pid: int) -> bool:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return bool(file.read().split())
