"""What a session tells of its program's start, and how little of it is believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.errors import UsageError
from ptyshipper.records import Kind, Started
from ptyshipper.repro.container import Container
from ptyshipper.repro.session import OUTSIDE, recorded

SESSION = {"id": "5824babf93a5" + "0" * 20, "command": ["sh", "-c", "x"], "command_base64": None}
ABOUT: dict[str, Any] = {
    "argv": ["sh", "-c", "\udcff"], "cwd": "/srv", "umask": 0o27, "uid": 0, "gid": 0, "tty": "always",
    "stdio": ["terminal", "other", "stdout"], "env": {"PATH": "/bin"}, "withheld": ["KEY"],
}  # fmt: skip
STARTED = Started(0, 80, 24, 0b001)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.just("\ud800")
    | st.just("\0"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def test_a_recording_tells_all_of_it() -> None:
    again = recorded(SESSION, ABOUT, STARTED, frozenset())
    container = again.container
    assert (again.tty, again.stdio, again.has_env) == (
        "always",
        ("terminal", "other", "stdout"),
        True,
    )
    assert container.argv == ("sh", "-c", "\udcff")
    assert (container.cwd, container.umask, container.initial_size) == ("/srv", 0o27, (24, 80))
    assert container.env == (("PATH", "/bin"),)
    assert [one.name for one in container.missing] == ["KEY"]
    assert container.given({"KEY": "v"}).missing == ()


def test_a_backend_tells_the_command_and_what_had_a_terminal() -> None:
    session = SESSION | {"command_base64": ["c2g=", "/w=="]}
    again = recorded(session, {}, Started(0, 0, 0, 0b111), frozenset({Kind.TTY}))
    assert again.container.argv == ("sh", "\udcff")
    assert (again.tty, again.stdio, again.has_env) == ("auto", ("terminal",) * 3, False)
    assert {note.field for note in again.container.notes} == {"input", "env", "cwd"}


@pytest.mark.parametrize(
    ("mask", "kinds", "mode", "stdio"),
    [
        (0b000, {Kind.STDOUT}, "auto", ("other", "other", "other")),
        (0b101, {Kind.STDOUT, Kind.TTY}, "auto", ("terminal", "other", "terminal")),
        (0b110, {Kind.STDOUT}, "always", ("other", "other", "other")),
        (0b111, set(), "auto", ("terminal", "terminal", "terminal")),
    ],
)
def test_the_mode_is_told_by_the_records(
    mask: int, kinds: set[int], mode: str, stdio: tuple[str, ...]
) -> None:
    again = recorded(SESSION, {}, Started(0, 80, 24, mask), frozenset(kinds))
    assert (again.tty, again.stdio) == (mode, stdio)


@given(st.dictionaries(st.sampled_from(sorted(ABOUT)), JSON), JSON, JSON)
def test_whatever_a_file_says_is_a_container_or_refused(
    about: dict[str, Any], command: object, encoded: object
) -> None:
    session = SESSION | {"command": command, "command_base64": encoded}
    container: Container | None = None
    try:
        again = recorded(session, ABOUT | about, STARTED, frozenset())
        container = again.container
    except UsageError:
        return
    assert all(type(word) is str and "\0" not in word for word in container.argv)
    assert all(one in OUTSIDE for one in again.stdio)
    for name, value in container.env:
        f"{name}={value}".encode("utf-8", "surrogateescape")
        assert "\0" not in name + value
        assert "=" not in name
    assert container.umask is None or 0 <= container.umask <= 0o777


def test_a_command_that_may_have_been_cut_is_said_to_be() -> None:
    again = recorded(SESSION | {"command": ["x" * 8_000]}, {}, STARTED, frozenset())
    assert "command" in {note.field for note in again.container.notes}
