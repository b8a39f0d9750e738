"""The loop on real programs, with a sink that can be looked into. The black box is in integration/."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.wrapping import BARE_ENVIRON

PREAMBLE = """
import os, sys, time
from ptyshipper.child import signals
from ptyshipper.child.environment import given_environment
from ptyshipper.child.spawn import Command, let_go, spawn
from ptyshipper.child.stdio import plan
from ptyshipper.pump.loop import Pump
from ptyshipper.records import Kind, read_exited, read_signalled
from tests.support.recording_sink import RecordingSink
pristine = signals.seize()
queue = signals.SignalQueue()
sink = RecordingSink()
stdio = plan("auto")
def run(*argv, on_append=None):
    program = spawn(Command([a.encode() for a in argv], given_environment()), stdio, None, pristine)
    let_go(stdio, None)
    queue.start()
    pump = Pump(program, None, sink, queue, drain_timeout_s=1.0, leads_session=False,
                ignored=frozenset(), started_ns=time.monotonic_ns())
    return pump.run()
def say(text):
    os.write(2, f"{text}\\n".encode())
"""


def run_pump(program: str, stdin: bytes = b"") -> tuple[bytes, list[str]]:
    """What came out, and what the driving program said about it."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + program],
        env=BARE_ENVIRON,
        input=stdin,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, done.stderr.decode().splitlines()


def test_output_is_recorded_and_ends_with_the_exit() -> None:
    out, said = run_pump(
        "status = run('sh', '-c', 'echo one; exit 3')\n"
        "say(status.shell_status); say(sink.output); say(sink.flushed == len(sink.records))\n"
        "say(sink.records[-1][0] == Kind.EXITED); say(read_exited(sink.records[-1][2]).code)\n"
    )
    assert out == b"one\n"
    assert said == ["3", "b'one\\n'", "True", "True", "3"]


def test_times_never_go_back_and_the_wall_clock_is_not_asked() -> None:
    _, said = run_pump(
        "import time as t; t.time = t.time_ns = None\n"
        "run('sh', '-c', 'echo a; sleep 0.05; echo b; sleep 0.05; echo c')\n"
        "times = [time_us for _, time_us, _ in sink.records]\n"
        "say(times == sorted(times)); say(times[-1] - times[0] > 90_000)\n"
    )
    assert said == ["True", "True"]


def test_everything_is_flushed_before_it_is_written() -> None:
    """What was shown must survive a kill of the wrapper."""
    _, said = run_pump(
        "from ptyshipper.pump.outlet import Outlet\n"
        "write, late = Outlet.write, []\n"
        "def spy(self, data):\n"
        "    late.append(len(sink.records) - sink.flushed); return write(self, data)\n"
        "Outlet.write = spy\n"
        "run('sh', '-c', 'for i in 1 2 3 4 5; do echo $i; sleep 0.01; done')\n"
        "say(len(late) > 0 and not any(late))\n"
    )
    assert said == ["True"]


def test_a_full_sink_holds_the_program_up_until_there_is_room() -> None:
    out, said = run_pump(
        "import _thread\n"
        "sink.room_fd = os.eventfd(0)\n"
        "append = sink.append\n"
        "def fill(kind, time_us, payload):\n"
        "    append(kind, time_us, payload)\n"
        "    if len(sink.output) > 100_000 and sink.has_room and not said: \n"
        "        sink.has_room = False; said.append(len(sink.output)); _thread.start_new_thread(free, ())\n"
        "def free():\n"
        "    time.sleep(0.3); said.append(len(sink.output))\n"
        "    sink.has_room = True; os.eventfd_write(sink.room_fd, 1)\n"
        "said = []; sink.append = fill\n"
        "status = run('seq', '100000')\n"
        "say(status.code); say(said[0] == said[1]); say(len(sink.output))\n"
    )
    assert said == ["0", "True", "588895"]
    assert len(out) == 588_895


def test_idle_it_makes_no_system_call() -> None:
    """Its own turns are counted: none while the program sleeps."""
    _, said = run_pump(
        "from ptyshipper.pump import loop\n"
        "turns, move = [], loop.Pump._move\n"
        "loop.Pump._move = lambda *a: turns.append(1) or move(*a)\n"
        "run('sh', '-c', 'echo a; sleep 0.7; echo b')\n"
        "say(len(turns) < 12)\n"
    )
    assert said == ["True"]


def test_a_busy_stream_takes_few_turns_and_none_once_it_is_silent() -> None:
    """2,000 small writes in a second, then half a second of nothing."""
    _, said = run_pump(
        "from ptyshipper.pump import loop\n"
        "turns, move = [], loop.Pump._move\n"
        "loop.Pump._move = lambda *a: turns.append(time.monotonic()) or move(*a)\n"
        "program = ('import os, time\\nend = time.monotonic() + 1\\n'\n"
        "  'while time.monotonic() < end: os.write(1, b\"x\" * 99); time.sleep(0.0004)\\n'\n"
        "  'time.sleep(0.5); os.write(1, b\"last\")')\n"
        "run(sys.executable, '-c', program)\n"
        "late = [t for t in turns if turns[-1] - 0.4 < t < turns[-1] - 0.1]\n"
        "say(len(turns) < len(sink.output) / 99 / 2); say(late)\n"
    )
    assert said == ["True", "[]"]


def test_without_output_there_are_no_turns() -> None:
    _, said = run_pump(
        "from ptyshipper.pump import loop\n"
        "turns, move = [], loop.Pump._move\n"
        "loop.Pump._move = lambda *a: turns.append(1) or move(*a)\n"
        "run('sh', '-c', 'sleep 0.7')\n"
        "say(len(turns) < 8)\n"
    )
    assert said == ["True"]


@pytest.mark.parametrize("signo", [10, 15])
def test_a_forwarded_signal_is_recorded(signo: int) -> None:
    _, said = run_pump(
        "import _thread\n"
        "def later():\n"
        f"    time.sleep(0.4); os.system(f'kill -{signo} {{os.getpid()}}')\n"
        "_thread.start_new_thread(later, ())\n"
        f"status = run('sh', '-c', 'trap \"exit 9\" {signo}; while :; do sleep 0.02; done')\n"
        "say(status.code); say([read_signalled(p) for k, _, p in sink.records if k == Kind.SIGNALLED])\n"
    )
    assert said == ["9", f"[{signo}]"]
