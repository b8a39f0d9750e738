"""Every kind of outlet: it takes what it can, never blocks, and changes nothing it inherited."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from ptyshipper.pump.outlet import Outlet


def fill(outlet: Outlet) -> int:
    total = 0
    while written := outlet.write(bytes(65_536)):
        total += written
    return total


def test_a_full_pipe_takes_nothing_and_stays_blocking() -> None:
    read_end, write_end = os.pipe()
    outlet = Outlet(write_end)
    assert fill(outlet) == fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ)
    assert os.get_blocking(write_end)
    os.read(read_end, 8192)
    assert outlet.write(bytes(5000)) > 0
    os.close(read_end)
    with pytest.raises(BrokenPipeError):
        outlet.write(b"x")
    os.close(outlet.poll_fd)
    os.close(write_end)


def test_a_pipe_that_cannot_be_opened_again_takes_small_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container's stdout may belong to another user: /proc/self/fd then says EACCES."""
    monkeypatch.setattr("ptyshipper.pump.outlet.reopen", lambda fd, flags: -1)
    read_end, write_end = os.pipe()
    outlet = Outlet(write_end)
    assert outlet.poll_fd == write_end
    assert fill(outlet) == fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ)
    assert os.get_blocking(write_end)
    os.close(read_end)
    os.close(write_end)


def test_a_socket_is_written_call_by_call() -> None:
    ours, theirs = socket.socketpair()
    outlet = Outlet(ours.fileno())
    assert fill(outlet) > 10_000
    assert os.get_blocking(ours.fileno())
    theirs.close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        outlet.write(b"x")
    ours.close()


def test_a_file_keeps_the_offset_that_others_share(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        os.write(file.fileno(), b"before ")
        outlet = Outlet(file.fileno())
        assert outlet.write(b"ours ") == 5
        os.write(file.fileno(), b"after")
    assert (tmp_path / "log").read_bytes() == b"before ours after"


def test_a_full_disk_is_the_end_of_an_outlet() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space"):
        Outlet(full.fileno()).write(b"x")


def test_closing_tells_the_reader_and_keeps_the_number_taken() -> None:
    read_end, write_end = os.pipe()
    outlet = Outlet(write_end)
    outlet.write(b"last")
    outlet.close()
    assert os.read(read_end, 100) == b"last"
    assert os.read(read_end, 100) == b""
    assert os.write(write_end, b"nowhere") == 7
    os.close(read_end)
    os.close(write_end)
