"""What the wrapper hands on, and what it tells of itself."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.agent import describe
from ptyshipper.config import AgentSettings, SpoolSettings
from ptyshipper.wire import messages

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
