"""What the launcher hands over, taken apart; with the real launcher in ``integration/``."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ptyshipper.launch import VARIABLE, Launch, received

BLOCK = b"A=1\0A=2\0nameless\0=\xff\0"


@contextmanager
def handed_over(environment_fd: int, ignored: str = "0", blocked: str = "0") -> Iterator[str]:
    tree_fd = os.open("/", os.O_RDONLY)
    os.set_inheritable(tree_fd, True)
    try:
        yield f"{environment_fd} {tree_fd} {ignored} {blocked} log-shipper /a volume"
        assert not os.get_inheritable(tree_fd), "the program must not inherit it"
    finally:
        os.close(tree_fd)


def in_memory() -> int:
    fd = os.memfd_create("environment")
    os.write(fd, BLOCK)
    return fd


def in_pipe() -> int:
    read_end, write_end = os.pipe()
    os.write(write_end, BLOCK)
    os.close(write_end)
    return read_end


@pytest.mark.parametrize("make", [in_memory, in_pipe])
def test_the_environment_comes_byte_for_byte_and_its_descriptor_goes(make: object) -> None:
    assert callable(make)
    fd = make()
    with handed_over(fd) as text:
        launch = Launch(text, "/tree")
    assert launch.environment.block == BLOCK
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(fd, fcntl.F_GETFD)


def test_the_rest_is_said_in_one_line() -> None:
    with handed_over(in_memory(), f"{1 << 12 | 1 << 63:x}", "3") as text:
        launch = Launch(text, "/volume/.log-shipper/1")
    assert (launch.pristine.ignored, launch.pristine.mask) == ({13, 64}, {1, 2})
    assert (launch.name, launch.directory) == ("log-shipper", "/a volume")
    assert launch.helper == b"/volume/.log-shipper/1/launch"
    assert launch.ca_bundle == "/volume/.log-shipper/1/certs"


def test_outside_the_bundle_nothing_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: anybody can set a variable."""
    monkeypatch.setenv(VARIABLE, "0 1 2 x y")
    assert not hasattr(sys, "frozen")
    assert received() is None
