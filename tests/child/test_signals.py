"""The table of signals, and the queue that they come through."""

from __future__ import annotations

import signal
import subprocess
import sys

from ptyshipper.child.signals import ALL, POLICIES, Policy, policy
from tests.support.wrapping import BARE_ENVIRON


def test_every_catchable_signal_has_a_policy_and_most_are_simply_forwarded() -> None:
    assert {s for s in ALL if policy(s) != Policy.FORWARD} == set(POLICIES)
    assert len(ALL) >= 60
    assert not {signal.SIGKILL, signal.SIGSTOP} & ALL


def test_only_a_childs_end_is_never_forwarded() -> None:
    assert [s for s, p in POLICIES.items() if p == Policy.CHILD] == [signal.SIGCHLD]


def run_python(program: str) -> str:
    """In a process of its own: these functions change the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=BARE_ENVIRON,
        capture_output=True,
        timeout=20,
        check=True,
    )
    return done.stdout.decode()


def test_seizing_blocks_all_and_tells_how_it_was() -> None:
    program = """
import signal
from ptyshipper.child import signals
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
p = signals.seize()
print(p.mask == {signal.SIGUSR1}, p.ignored == {signal.SIGCHLD, signal.SIGHUP})
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) >= signals.ALL)
print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)
p.restore()
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1})
for s in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
    print(signal.getsignal(s) == (signal.SIG_IGN if s == signal.SIGCHLD else signal.SIG_DFL))
"""
    assert set(run_python(program).split()) == {"True"}


def test_the_queue_keeps_order_and_leaves_out_our_own() -> None:
    program = """
import os, select, signal
from ptyshipper.child import signals
signals.seize()
os.kill(os.getpid(), signal.SIGUSR1)
queue = signals.SignalQueue()
if (child := os.fork()) == 0:
    for s in (signal.SIGRTMIN, signal.SIGRTMIN + 1, signal.SIGRTMIN):
        os.kill(os.getppid(), s)
    os._exit(0)
os.waitpid(child, 0)
queue.start()
got = []
while signal.SIGCHLD not in [a.signo for a in got] or len(got) < 4:
    assert select.select([queue.fd], [], [], 10)[0]
    got += queue.take()
got = [a for a in got if a.signo != signal.SIGCHLD]
print([int(a.signo) for a in got], {a.by_kernel for a in got})
"""
    first, second = int(signal.SIGRTMIN), int(signal.SIGRTMIN) + 1
    assert run_python(program) == f"[{first}, {first}, {second}] {{False}}\n"


def test_the_kernel_is_told_from_a_process() -> None:
    program = """
import os, select, signal
from ptyshipper.child import signals
signals.seize()
queue = signals.SignalQueue(); queue.start()
signal.setitimer(signal.ITIMER_REAL, 0.01)
assert select.select([queue.fd], [], [], 10)[0]
print([(int(a.signo), a.by_kernel) for a in queue.take()])
"""
    assert run_python(program) == "[(14, True)]\n"


def test_without_a_thread_signals_are_asked_for() -> None:
    """A container's limit of processes counts threads."""
    program = """
import _thread, os, signal
from ptyshipper.child import signals
def refuse(*_): raise RuntimeError("can't start new thread")
_thread.start_new_thread = refuse
signals.seize()
queue = signals.SignalQueue(); queue.start()
print(queue.poll_ms)
if (child := os.fork()) == 0:
    os.kill(os.getppid(), signal.SIGUSR1); os._exit(0)
os.waitpid(child, 0)
print(sorted(int(a.signo) for a in queue.take()))
"""
    assert run_python(program) == f"50\n[{int(signal.SIGUSR1)}, {int(signal.SIGCHLD)}]\n"
