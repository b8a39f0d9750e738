"""The terminal that a runtime makes: its size, its keys, its end."""

from __future__ import annotations

import re
from itertools import groupby

import pytest

from integration.runtimes.conftest import Images
from integration.runtimes.container import User
from integration.runtimes.images import Image
from integration.runtimes.pod import Pod, check_exit

pytestmark = pytest.mark.runtimes


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
def test_a_terminal_begins_without_a_size_and_gets_it_from_whoever_attaches(
    pod: Pod, wrapped: bool
) -> None:
    """kubectl attach sends a size that is one too large, then the true one."""
    run = pod.wrapped if wrapped else pod.bare
    with run("/probe", "sizes", tty=True, user=User.UNPRIVILEGED) as c:
        c.expect("size 0 0\r\n")
        c.console.resize(25, 81)
        c.expect("size 25 81\r\n")
        c.console.resize(24, 80)
        c.expect("size 24 80\r\n")
        c.console.resize(51, 133)
        c.console.resize(50, 132)
        c.expect("size 50 132\r\n")
        seen = [size for size, _ in groupby(re.findall(rb"size (\d+ \d+)", c.out))]
        seen = [
            size for size in seen if size != b"51 133"
        ]  # gone before the program looked, or not
        assert seen == [b"0 0", b"25 81", b"24 80", b"50 132"]
        c.kill(9)
        assert c.wait() == 137


def test_a_size_that_comes_before_the_start_is_there_from_the_start(pod: Pod) -> None:
    with pod.wrapped("/probe", "sizes", tty=True, start=False) as c:
        c.console.resize(40, 120)
        c.start()
        c.expect("size 40 120\r\n")
        c.kill(15)
        assert c.wait() == 143
        assert c.out == b"size 40 120\r\n"


@pytest.mark.parametrize("user", User)
def test_keys_are_the_programs(pod: Pod, user: User) -> None:
    """^C and the like are signals to a program that the terminal signals; ^D ends its input; a line
    is echoed once."""
    shown = []
    for run in (pod.bare, pod.wrapped):
        with run("/probe", "say", "begin", "read", "read", "signals", tty=True, user=user) as c:
            c.expect("begin\r\n")
            c.type(b"typed\x7f\x7fs\n")
            c.expect("read typs\r\n")
            c.type(b"\x04")
            c.expect("ready\r\n")
            for key, number in ((b"\x03", 2), (b"\x1c", 3), (b"\x1a", 20), (b"\x03", 2)):
                c.type(key)
                c.expect(f"signal {number}\r\n")
            c.kill(9)
            assert c.wait() == 137
            shown.append(c.out)
    assert shown[1] == shown[0]


def test_a_stop_key_is_nothing_to_a_program_that_nobody_could_continue(pod: Pod) -> None:
    """There is no shell outside: under some first processes a ^Z hangs the container for good."""
    shown = []
    for run in (pod.bare, pod.wrapped):
        with run("/probe", "say", "begin", "read", "exit", "9", tty=True) as c:
            c.expect("begin\r\n")
            c.type(b"\x1a")
            c.expect("^Z")
            c.type(b"on\n")
            assert c.wait() == 9
            shown.append(c.out)
    assert shown[1] == shown[0] == b"begin\r\n^Zon\r\nread on\r\n"


def test_an_interrupt_ends_a_program_that_does_nothing_about_it(pod: Pod) -> None:
    """Bare it would be ignored: the kernel spares a container's first process. Wrapped it is not the
    first."""
    with pod.wrapped("/probe", "say", "begin", "nap", "60000", tty=True) as c:
        c.expect("begin\r\n")
        c.type(b"\x03")
        assert c.wait() == 130
        assert c.out == b"begin\r\n^C"
    pod.check_stored(c, 130)


def test_a_hang_up_reaches_the_program(pod: Pod) -> None:
    """It is told (SIGHUP), and what it then writes to its terminal fails, which ends this one."""
    ended = []
    for run in (pod.bare, pod.wrapped):
        with run("/probe", "signals", tty=True) as c:
            c.expect("ready\r\n")
            c.hang_up()
            ended.append(c.wait())
    assert ended[1] == ended[0] == 98
    (stored,) = pod.stored()
    check_exit(stored, 98)
    assert stored.streams[0].startswith(b"ready\r\n")


def test_what_is_typed_is_recorded_only_where_it_is_shown(pod: Pod, images: Images) -> None:
    """A password is typed at a terminal that does not echo."""
    script = "stty -echo; echo password; read x; stty echo; echo ${#x} bytes"
    root = pod.root(images[Image.BUSYBOX])
    with pod.wrapped("/bin/sh", "-c", script, tty=True, root=root) as c:
        c.expect("password\r\n")
        c.type(b"secret\n")
        assert c.wait() == 0
        assert c.out == b"password\r\n6 bytes\r\n"
    pod.check_stored(c, 0)
