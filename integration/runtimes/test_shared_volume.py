"""What containers of one pod share: the program, and the spool of those that died."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from integration.runtimes.conftest import Images
from integration.runtimes.container import Runtime, User
from integration.runtimes.images import Image
from integration.runtimes.pod import Pod, check_exit, removing
from tests.support.patience import until
from tests.support.server import running_server
from tests.support.stored import sessions_of


@pytest.fixture
def own_pod(runtime: Runtime, installed: Path, tmp_path: Path) -> Iterator[Pod]:
    """A pod with a backend of its own, which a test may end and start again."""
    with running_server(tmp_path) as server, removing(tmp_path / "pod") as directory:
        directory.mkdir()
        yield Pod(runtime, server, installed, directory)


@pytest.mark.parametrize(
    "tty", [True, pytest.param(False, marks=pytest.mark.runtimes)], ids=["tty", "pipes"]
)
def test_a_killed_containers_last_bytes_are_delivered_by_its_successor(
    own_pod: Pod, tty: bool
) -> None:
    """The backend is away when it prints, and when it is killed with all its processes."""
    server = own_pod.server
    fields: dict[str, Any] = {"tty": tty, "user": User.UNPRIVILEGED, "read_only": True}
    with own_pod.wrapped("/probe", "say", "first", "read", "say", "last", "read", stdin=not tty,
                         **fields) as first:  # fmt: skip
        first.expect("first")
        until(lambda: sessions_of(server, own_pod.deployment_id), "it ships")
        server.kill()
        first.type(b"\n")
        first.expect("last")
        first.kill(9)
        assert first.wait() == 137
    assert own_pod.left_in_volume() == [f"ptyshipper-{User.UNPRIVILEGED.value}"]
    server.start()
    with own_pod.wrapped("/probe", "say", "second", "exit", "4", **fields) as second:
        assert second.wait() == 4
    cut, complete = own_pod.stored(2)
    assert cut.summary["state"] == "cut"
    assert cut.gaps == []
    printed = re.sub(rb"ptyshipper: [^\n]*\n", b"", first.out)  # that the backend is away
    assert cut.streams[0 if tty else 1] == printed
    check_exit(complete, 4)
    assert complete.streams[0 if tty else 1] == second.out
    assert own_pod.left_in_volume() == []


@pytest.mark.runtimes
def test_containers_share_one_volume(pod: Pod) -> None:
    """At the same time: of one user and of another, with a terminal and without."""
    kinds = [(User.UNPRIVILEGED, False), (User.UNPRIVILEGED, True), (User.ROOT, False)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                pod.wrapped("/probe", "say", f"from {n}", "read", "exit", str(n), user=user, tty=tty,
                            stdin=not tty, hostname=f"web-{n}")
            )
            for n, (user, tty) in enumerate(kinds)
        ]  # fmt: skip
        for n, c in enumerate(running):
            c.expect(f"from {n}")
        for n, c in enumerate(running):
            c.type(b"\n")
            assert c.wait() == n
    stored = {s.summary["hostname"]: s for s in pod.stored(len(kinds))}
    for n, c in enumerate(running):
        session = stored[f"web-{n}"]
        check_exit(session, n)
        assert session.streams[0 if c.spec.tty else 1] == c.out
    assert pod.left_in_volume() == []


@pytest.mark.runtimes
@pytest.mark.parametrize("image", [Image.EMPTY, Image.BULLSEYE], ids=lambda image: image.value)
def test_a_volume_that_is_read_only_does_as_well(pod: Pod, images: Images, image: Image) -> None:
    """An image volume of Kubernetes; what waits to be delivered waits in memory or in /tmp."""
    with pod.wrapped(
        "/probe", "say", "out", "err", "err", "exit", "3",
        root=pod.root(images[image]), read_only=True, user=User.UNPRIVILEGED,
        is_image_volume=True,
    ) as c:  # fmt: skip
        assert c.wait() == 3
        assert (c.out, c.err) == (b"out\n", b"err\n")
    pod.check_stored(c, 3)


@pytest.mark.runtimes
def test_without_a_backend_the_program_runs_on(own_pod: Pod) -> None:
    """One warning; the rest is left for a successor that does not come."""
    own_pod.server.kill()
    settings = {"flush_timeout_s": "0.5"}
    with own_pod.wrapped("/probe", "say", "out", "exit", "6", settings=settings) as c:
        assert c.wait() == 6
        assert c.out == b"out\n"
        assert c.err.startswith(b"ptyshipper: ")
        assert c.err.count(b"\n") == 1
