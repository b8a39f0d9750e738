"""What the runtime adds to a container's variables."""

from __future__ import annotations

from ptyshipper.repro.container import Container
from ptyshipper.repro.environment import DEFAULT_PATH, environment


def test_a_clean_one() -> None:
    container = Container("c", env=(("A", "1"),), hostname="h")
    assert environment(container, None, is_root=True) == {
        "PATH": DEFAULT_PATH, "HOSTNAME": "h", "A": "1", "HOME": "/root",
    }  # fmt: skip


def test_a_terminal_has_a_type() -> None:
    assert environment(Container("c", tty=True), None, is_root=False)["TERM"] == "xterm"
    assert "TERM" not in environment(Container("c"), None, is_root=False)


def test_what_is_said_wins() -> None:
    env = (("PATH", "/x"), ("HOME", "/h"), ("TERM", "dumb"), ("HOSTNAME", "n"))
    assert environment(Container("c", env=env, tty=True), None, is_root=True) == dict(env)


def test_one_that_is_not_clean() -> None:
    here = {"PATH": "/mine", "HOME": "/home/me", "EDITOR": "ed", "TERM": "vt100"}
    container = Container("c", env=(("EDITOR", "vi"),), tty=True)
    found = environment(container, here, is_root=True)
    assert found == {**here, "HOSTNAME": "c", "EDITOR": "vi", "TERM": "xterm"}


def test_the_wrappers_own_settings_are_not_the_containers() -> None:
    """The token is among them, and preStop, a runtime's configuration and --print have these."""
    here = {"_PRIVATE_ANVILOPS_LOG_TOKEN": "secret", "EDITOR": "ed"}
    found = environment(Container("c"), here, is_root=True)
    assert found["EDITOR"] == "ed"
    assert "secret" not in found.values()
