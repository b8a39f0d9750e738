"""What the wrapper hands on, and what it tells of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.agent import describe
from ptyshipper.config import AgentSettings, SpoolSettings
from ptyshipper.wire import messages
from tests.support.wrapping import BARE_ENVIRON

SETTINGS = AgentSettings("auto", 7, "runtime", 2.0, SpoolSettings((), 2**20, "drop"), None)


@given(st.lists(st.binary(max_size=12_000), min_size=1, max_size=40))
def test_any_command_fits_its_description(argv: list[bytes]) -> None:
    described = describe(argv, SETTINGS, 1, tty=False)
    message = messages.hello(bytes(16), described)
    read = messages.read_shipper_message(message)
    assert isinstance(read, messages.Hello)
    assert read.description == json.loads(json.dumps(described))


def test_a_short_command_is_told_whole() -> None:
    described = describe([b"sh", b"-c", b"echo \xff"], SETTINGS, 5, tty=True)
    assert described["command"] == ["sh", "-c", "echo \\xff"]
    assert (described["hostname"], described["tty"]) == (os.uname().nodename, True)
    assert (described["deployment_id"], described["started_at_us"]) == (7, 5)


def wrap_with(sabotage: str, *argv: str) -> subprocess.CompletedProcess[bytes]:
    """Wrap a program in a process in which something of ours is broken."""
    program = (
        "import sys\n"
        f"{sabotage}\n"
        f"sys.argv = ['log-shipper', *{argv!r}]\n"
        "from ptyshipper.cli import main_log_shipper\n"
        "main_log_shipper()\n"
    )
    prefix = "_PRIVATE_ANVILOPS_LOG_"
    settings = {
        prefix + "ENDPOINT": "http://127.0.0.1:1/",
        prefix + "TOKEN": "t",
        prefix + "FLUSH_TIMEOUT_S": "0",
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**BARE_ENVIRON, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )


def test_without_threads_the_program_runs_on_unrecorded() -> None:
    """A container's limit of processes counts threads."""
    sabotage = (
        "import _thread\n"
        "def refuse(*_): raise RuntimeError('no threads')\n"
        "_thread.start_new_thread = refuse"
    )
    done = wrap_with(sabotage, "sh", "-c", "sleep 0.2; echo out; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert b"Traceback" not in done.stderr


def test_a_failing_spool_is_one_warning_and_the_program_runs_on() -> None:
    sabotage = (
        "from ptyshipper.spool.spool import Spool\n"
        "def fail(*_): raise MemoryError('none left')\n"
        "Spool.open = fail"
    )
    done = wrap_with(sabotage, "sh", "-c", "echo out; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert done.stderr.startswith(b"ptyshipper: nothing is recorded: MemoryError")
    assert done.stderr.count(b"\n") == 1


def test_should_the_pump_fail_the_exit_status_is_still_the_programs() -> None:
    sabotage = (
        "from ptyshipper.pump.loop import Pump\n"
        "def fail(self): raise ZeroDivisionError('a bug')\n"
        "Pump.run = fail"
    )
    done = wrap_with(sabotage, "sh", "-c", "sleep 0.2; echo out; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert b"the wrapper failed: ZeroDivisionError" in done.stderr


def test_what_can_not_be_loaded_any_more_costs_the_record_alone() -> None:
    """Whatever it raises, a SystemExit included."""
    sabotage = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ptyshipper.records': raise SystemExit('moved or deleted')\n"
        "sys.meta_path.insert(0, Gone())"
    )
    program = "trap 'echo got it; exit 7' TERM; kill -TERM $PPID; while :; do sleep 0.1; done"
    done = wrap_with(sabotage, "sh", "-c", program)
    assert (done.returncode, done.stdout) == (7, b"got it\n")
    assert done.stderr.startswith(b"ptyshipper: the wrapper failed: SystemExit('moved or deleted')")
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
