"""Whatever the image, the terminal, the root and the user: the program finds what it would find bare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from integration.runtimes.conftest import Images
from integration.runtimes.container import Container, User
from integration.runtimes.images import Image
from integration.runtimes.pod import ENVIRON, Pod, files

SIZE = (33, 111)
QUICK = {
    (Image.EMPTY, True, True, User.UNPRIVILEGED),
    (Image.EMPTY, False, False, User.ROOT),
    (Image.ALPINE, False, True, User.UNPRIVILEGED),
    (Image.BUSYBOX, True, False, User.ROOT),
}
"""A cell or two of each row and column: these run without being asked for."""


def cells() -> Iterator[object]:
    for cell in product(Image, (True, False), (True, False), User):
        image, tty, read_only, user = cell
        words = (
            image.value,
            "tty" if tty else "pipes",
            "read-only" if read_only else "writable",
            user.name.lower(),
        )
        marks = () if cell in QUICK else pytest.mark.runtimes
        yield pytest.param(*cell, marks=marks, id="-".join(words))


@pytest.mark.parametrize(("image", "tty", "read_only", "user"), list(cells()))
def test_a_program_finds_the_same_world(
    pod: Pod, images: Images, image: Image, tty: bool, read_only: bool, user: User
) -> None:
    """In the end it becomes a program of the image's own. Nothing is written but what the program
    writes, and nothing is left in the volume."""
    words = ("isatty", "report", "-", "err", "to stderr", "exec", *image.own_program)
    fields: dict[str, Any] = {
        "tty": tty,
        "read_only": read_only,
        "user": user,
        "console_size": SIZE if tty else None,
        "environ": [*ENVIRON, "EMPTY=", "ODD==a=b\n\ttab", "TZ=Asia/Tokyo", "LC_ALL=C"],
    }
    with pod.bare("/probe", *words, root=pod.root(images[image]), **fields) as bare:
        assert bare.wait() == 23
    with pod.wrapped(
        "/probe", *words, root=pod.root(images[image]), start=False, **fields
    ) as wrapped:
        before = files(wrapped.spec.root)
        wrapped.start()
        assert wrapped.wait() == 23
        assert files(wrapped.spec.root) == before
    check_same(bare, wrapped)
    stored = pod.check_stored(wrapped, 23)
    assert stored.summary["tty"] == tty
    assert stored.summary["command"] == ["/probe", *words]
    assert pod.left_in_volume() == []


@pytest.mark.runtimes
def test_a_command_is_found_by_the_images_path(pod: Pod, images: Images) -> None:
    """As the runtime itself would find it; the rest is the command's, whatever it looks like."""
    environ = ["PATH=/nowhere::/bin"]
    words = ("sh", "-c", "echo $0 $PWD $PATH $1", "--", "--help")
    root = images[Image.BUSYBOX]
    printed = []
    for run in (pod.bare, pod.wrapped):
        with run(*words, root=pod.root(root), cwd="/tmp", environ=environ) as c:
            assert c.wait() == 0
            printed.append((c.out, c.err))
    assert printed[1] == printed[0] == (b"-- /tmp /nowhere::/bin --help\n", b"")
    with pod.wrapped("--version", "-x") as c:
        assert c.wait() == 127
        assert c.err == b"ptyshipper: --version: command not found\n"


def check_same(bare: Container, wrapped: Container) -> None:
    """Each line of output, and each fact in the report among them."""
    lines, expected = wrapped.lines(), bare.lines()
    found_report, expected_report = (json.loads(printed.pop(1)) for printed in (lines, expected))
    if not wrapped.spec.tty:
        # It stays in the wrapper's group and session, so that what is sent to those reaches all that
        # it would (DESIGN.md).
        for report in (found_report, expected_report):
            del report["leads_session"], report["leads_group"]
    else:
        assert found_report["terminals"]["0"]["winsize"][:2] == list(SIZE)
    assert found_report == expected_report
    assert lines == expected
    assert wrapped.err == bare.err
