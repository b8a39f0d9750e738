"""What each of 0, 1, 2 becomes, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ptyshipper.child.stdio import Become, StdioPlan, occupy_closed, plan, put_null

T, N, P, Y, S, C = (
    Become.TERMINAL,
    Become.INHERITED,
    Become.PIPE,
    Become.PTY,
    Become.SAME_AS_STDOUT,
    Become.CLOSED,
)


@pytest.fixture
def stdio() -> Iterator[dict[str, int]]:
    """Descriptors to put on 0, 1 and 2, which are put back afterwards."""
    kept = [os.dup(fd) for fd in range(3)]
    master, slave = os.openpty()
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    other_read, other_write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    yield {"tty": slave, "in": in_read, "out": out_write, "other": other_write, "null": null}
    for fd, original in enumerate(kept):
        os.dup2(original, fd)
    opened = (
        master,
        slave,
        in_read,
        in_write,
        out_read,
        out_write,
        other_read,
        other_write,
        null,
        *kept,
    )
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize(
    ("outside", "auto", "always", "never", "shares_job"),
    [
        (("tty", "tty", "tty"), (T, T, T), (T, T, T), (N, P, S), False),
        (("in", "out", "other"), (N, P, P), (N, Y, Y), (N, P, P), False),
        (("in", "out", "out"), (N, P, S), (N, Y, Y), (N, P, S), False),
        (("tty", "out", "tty"), (T, P, T), (T, Y, T), (N, P, P), True),
        (("in", "tty", "tty"), (N, T, T), (N, T, T), (N, P, S), True),
        (("tty", "tty", "null"), (T, T, P), (T, T, Y), (N, P, P), False),
        (("null", "null", "null"), (N, P, S), (N, Y, Y), (N, P, S), False),
    ],
)
def test_each_descriptor_by_itself(
    stdio: dict[str, int],
    outside: tuple[str, ...],
    auto: tuple[str, ...],
    always: tuple[str, ...],
    never: tuple[str, ...],
    shares_job: bool,
) -> None:
    for fd, name in enumerate(outside):
        os.dup2(stdio[name], fd)
    plans = [plan("auto"), plan("always"), plan("never")]
    assert [p.become for p in plans] == [auto, always, never]
    assert plans[0].shares_job == shares_job
    assert plans[0].has_terminal == ("tty" in outside)


def test_what_was_closed_is_closed_and_its_number_taken(stdio: dict[str, int]) -> None:
    os.close(0)
    os.close(2)
    closed = occupy_closed()
    read_end, write_end = os.pipe()
    planned = plan("auto", closed)
    os.close(read_end), os.close(write_end)
    assert closed == {0, 2}
    assert min(read_end, write_end) > 2
    assert (planned.become[0], planned.become[2]) == (C, C)


@pytest.mark.parametrize(
    ("become", "tty", "mask"),
    [
        ((T, T, T), (True, True, True), 0b111),
        ((N, P, S), (True, True, True), 0b001),
        ((N, Y, Y), (False, False, False), 0b110),
        ((N, P, S), (False, False, False), 0b000),
        ((C, T, P), (False, True, False), 0b010),
    ],
)
def test_the_mask_says_which_are_terminals_for_the_program(
    become: tuple[str, str, str], tty: tuple[bool, bool, bool], mask: int
) -> None:
    assert StdioPlan(become, tty, shares_job=False).tty_mask == mask


def test_without_dev_null_something_else_that_says_nothing_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "devnull", "/nonexistent/null")
    read_end, write_end = os.pipe()
    put_null(read_end)
    with pytest.raises(OSError, match="Broken pipe"):
        os.write(write_end, b"nobody holds the other end")
    assert os.read(read_end, 10) == b""
    os.close(read_end)
    os.close(write_end)
