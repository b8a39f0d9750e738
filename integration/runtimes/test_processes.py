"""PID 1's duties, signals by the runtime's own command, and what the kernel does at a limit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from integration.runtimes.container import Container, User
from integration.runtimes.pod import LOG_SHIPPER, Pod
from integration.runtimes.strace import traced
from tests.support.patience import until

NOT_PASSED_ON = {
    signal.SIGCHLD,  # it means the wrapper's own children
    32, 33,  # glibc keeps them to itself (signal(7)), so they can't be taken, and PID 1 is spared
}  # fmt: skip
MIB = 2**20
OURS = "ptyshipper: "


def send_every_signal(c: Container, lost: set[int]) -> None:
    """Each arrives once, before the next is sent, but for those that are lost."""

    def check_next(number: int) -> None:
        expected = f"signal {number}{line_end}"
        assert c.expect(expected) == expected.encode()

    line_end = "\r\n" if c.spec.tty else "\n"
    c.expect("ready" + line_end)
    for number in range(1, 65):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            c.kill(number)
            if number not in lost:
                check_next(number)
    c.kill(signal.SIGUSR1)
    check_next(signal.SIGUSR1)


SURROUNDINGS = [
    pytest.param(True, User.UNPRIVILEGED, id="tty-unprivileged"),
    *(
        pytest.param(tty, user, id=f"{name}-{user.name.lower()}", marks=pytest.mark.runtimes)
        for tty, name, user in (
            (True, "tty", User.ROOT),
            (False, "pipes", User.UNPRIVILEGED),
            (False, "pipes", User.ROOT),
        )
    ),
]


@pytest.mark.parametrize(("tty", "user"), SURROUNDINGS)
def test_the_runtimes_kill_reaches_the_program(pod: Pod, tty: bool, user: User) -> None:
    with pod.bare("/probe", "signals", tty=tty, user=user) as bare:
        send_every_signal(bare, set())
    with pod.wrapped("/probe", "signals", tty=tty, user=user) as wrapped:
        send_every_signal(wrapped, NOT_PASSED_ON)
        wrapped.kill(signal.SIGKILL)
        assert wrapped.wait() == 137


@pytest.mark.runtimes
@pytest.mark.parametrize("number", [1, 2, 3, 6, 11, 13, 15, 34, 64])
def test_a_signal_that_the_program_does_nothing_about_ends_it(pod: Pod, number: int) -> None:
    with pod.wrapped("/probe", "say", "begin", "nap", "60000", user=User.UNPRIVILEGED) as c:
        c.expect("begin\n")
        c.kill(number)
        assert c.wait() == 128 + number
    pod.check_stored(c, 128 + number)


@pytest.mark.runtimes
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "tty"])
def test_a_signal_during_the_start_waits_for_the_program(
    pod: Pod, tmp_path: Path, tty: bool
) -> None:
    """The kernel drops what comes to a container's first process and is neither blocked nor handled:
    here it comes while the launcher gives way to the wrapper, which strace makes slow."""
    slowly = ("-e", "trace=execve", "-e", "inject=execve:delay_enter=1000000:when=2")
    with pod.wrapped("/probe", "say", "begin", "nap", "60000", tty=tty, start=False) as c:
        proc = Path(f"/proc/{c.pid}")

        def is_launcher() -> bool:
            return (proc / "cmdline").read_bytes().startswith(LOG_SHIPPER.encode())

        with traced(c, tmp_path / "strace", *slowly):
            c.start()
            until(is_launcher, "the launcher runs")
            until(lambda: blocked(proc) >> (signal.SIGTERM - 1) & 1, "signals are blocked")
            os.kill(c.pid, signal.SIGTERM)
            assert is_launcher(), "it blocks them itself"
            assert c.wait() == 143


def blocked(proc: Path) -> int:
    """The mask of signals that a process blocks: bit n-1 for signal n."""
    fields = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return int(fields["SigBlk"], 16)


@pytest.mark.runtimes
def test_a_frozen_container_goes_on_where_it_was(pod: Pod) -> None:
    """SIGSTOP stops the wrapper alone, whom nobody can stop otherwise; what is sent meanwhile comes."""
    with pod.wrapped("/probe", "signals") as c:
        c.expect("ready\n")
        c.kill(signal.SIGSTOP)
        c.kill(signal.SIGTERM)
        c.kill(signal.SIGCONT)
        until(lambda: c.read_now().count(b"\n") == 3, "both signals have arrived")
        assert sorted(c.lines()) == ["ready", "signal 15", "signal 18"]
        c.kill(signal.SIGKILL)
        assert c.wait() == 137


@pytest.mark.parametrize(("tty", "user"), SURROUNDINGS)
def test_nothing_but_the_wrapper_is_between_and_the_token_is_nowhere(
    pod: Pod, tty: bool, user: User
) -> None:
    """As root on the host sees it, who sees what any of the container's processes could."""
    with pod.wrapped("/probe", "say", "begin", "read", tty=tty, stdin=not tty, user=user) as c:
        c.expect("begin")
        (program,) = c.children(c.pid)
        assert c.processes() == sorted([c.pid, program])
        assert os.readlink(f"/proc/{program}/exe") == "/probe"
        pod.stored()  # it is connected: all that begins with the token has begun
        token = pod.server.state.ingest_token.encode()
        for pid in c.processes():
            for name in ("environ", "cmdline"):
                assert token not in Path(f"/proc/{pid}/{name}").read_bytes()
            for path in Path(f"/proc/{pid}/fd").iterdir():
                assert "memfd" not in os.readlink(path), "who may read environ may read this too"
        assert b"TERM=xterm-256color" in Path(f"/proc/{program}/environ").read_bytes()
        c.type(b"\n")
        assert c.wait() == 0


def test_orphans_are_reaped(pod: Pod) -> None:
    words = ("/probe", "orphans", "40", "zombies")
    with pod.bare(*words, "300") as bare:
        assert bare.wait() == 0
        assert bare.out == b"zombies 40\n", "this program does not do it as the first process"
    with pod.wrapped(*words, "10000", user=User.UNPRIVILEGED) as wrapped:
        assert wrapped.wait() == 0
        assert wrapped.out == b"zombies 0\n"
    pod.check_stored(wrapped, 0)


@pytest.mark.runtimes
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "tty"])
def test_a_program_that_takes_too_much_memory_is_killed_alone(pod: Pod, tty: bool) -> None:
    """The wrapper lives to tell: cgroup v1 kills one process, and so does v2 without oom.group."""
    words = ("/probe", "say", "hungry", "eat", "200")
    with pod.wrapped(*words, tty=tty, memory_bytes=96 * MIB, user=User.UNPRIVILEGED) as c:
        assert c.wait() == 137
        assert c.oom_kills() == 1
        assert c.lines() == ["hungry"]
    assert pod.check_stored(c, 137).summary["exit_signal"] == signal.SIGKILL


@pytest.mark.runtimes
def test_the_limit_of_processes_is_the_programs_to_reach(pod: Pod) -> None:
    with pod.wrapped("/probe", "forks", "50", "exit", "7", pids=12) as c:
        assert c.wait() == 7
        (line,) = c.lines()
        assert line.startswith("forked ")
        assert line.endswith(", then Resource temporarily unavailable")
        assert int(line.split()[1].rstrip(",")) >= 12 - 4  # the program, the wrapper's two or three
    pod.check_stored(c, 7)


@pytest.mark.runtimes
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "tty"])
@pytest.mark.parametrize("pids", [1, 2, 3, 4])
def test_where_hardly_a_process_can_be_had_the_program_runs_all_the_same(
    pod: Pod, pids: int, tty: bool
) -> None:
    """A thread counts as a process. Bare, one is enough; whatever the wrapper can't do is at most
    one warning."""
    words = ("/probe", "say", "begin", "isatty", "signals")
    with pod.wrapped(*words, pids=pids, tty=tty, user=User.UNPRIVILEGED) as c:
        c.expect("ready")
        c.kill(signal.SIGTERM)
        c.expect("signal 15")
        c.kill(signal.SIGKILL)
        assert c.wait() == 137
        warnings = [line for line in (*c.lines(), *c.err.decode().splitlines()) if OURS in line]
        assert len(warnings) <= 1, warnings
        expected = ["begin", f"isatty {'1 1 1' if tty else '0 0 0'}", "ready", "signal 15"]
        assert [line for line in c.lines() if line not in warnings] == expected
