"""What a failed start is called, and what of the world is handed on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ptyshipper.child.environment import Environment
from ptyshipper.child.spawn import Command, execute, failure_to_start, inherited_fds


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.ENOENT, 127, "tool: command not found"),
        (errno.EACCES, 126, "tool: can't be executed: Permission denied"),
        (errno.ENOEXEC, 126, "tool: can't be executed: Exec format error"),
        (errno.ELIBBAD, 126, "tool: can't be executed: its interpreter or loader is missing"),
        (errno.E2BIG, 126, "tool: can't be executed: Argument list too long"),
    ],
)
def test_a_failure_is_one_line_and_a_shells_code(number: int, code: int, says: str) -> None:
    error = failure_to_start(b"tool", number)
    assert (error.exit_code, str(error), error.errno) == (code, says, number)


def test_a_name_that_is_no_text_is_shown_escaped() -> None:
    assert str(failure_to_start(b"\xff/x", errno.ENOENT)) == "\\xff/x: no such file"


def test_a_forbidden_one_is_remembered_over_one_not_found(tmp_path: Path) -> None:
    """As execvp(3): EACCES on the way is reported if nothing better comes."""
    (tmp_path / "tool").write_text("no program")
    environment = Environment([os.fsencode(f"PATH={tmp_path}:/nonexistent")])
    assert execute(Command([b"tool"], environment)) == errno.EACCES
    assert execute(Command([b"other"], environment)) == errno.ENOENT
    assert execute(Command([b"tool/below"], Environment([]))) == errno.ENOENT
    assert execute(Command([b""], environment)) == errno.ENOENT


def test_a_nul_in_an_argument_is_an_error_and_no_traceback() -> None:
    assert (
        execute(Command([b"true", b"a\0b"], Environment([b"PATH=/bin:/usr/bin"]))) == errno.EINVAL
    )


def test_only_what_survives_an_exec_is_inherited() -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    found = inherited_fds()
    os.close(read_end), os.close(write_end)
    assert write_end in found
    assert read_end not in found
    assert min(found) > 2
