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

SETTINGS = AgentSettings("auto", 7, "runtime", 2.0, SpoolSettings(None, 2**20, "drop"), None)


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


def test_the_environment_is_as_it_was_given() -> None:
    """In the C locale CPython adds LC_CTYPE to its own, which nobody gave it (PEP 538)."""
    program = (
        "from ptyshipper.agent import pristine_environ as p; e = p();"
        "print(b'LC_CTYPE' in e, e[b'ODD'], e[b'TWO=' [:3]])"
    )
    environ = {k: v for k, v in BARE_ENVIRON.items() if not k.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, "LC_ALL": "", "ODD": "a=b\nc", "TWO": "2"},
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == b"False b'a=b\\nc' b'2'\n"
