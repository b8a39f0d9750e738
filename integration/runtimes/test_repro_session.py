"""A session that was recorded in a container, run again in the container's root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.runtimes.conftest import Images
from integration.runtimes.container import Runtime
from integration.runtimes.images import Image
from integration.runtimes.pod import VOLUME, Pod
from tests.support.bundle import lacking
from tests.support.wrapping import BARE_ENVIRON, PTYSHIPPER, run

pytestmark = pytest.mark.runtimes

PROGRAM = """\
#!/bin/sh
echo "$0 $1 as $(id -u) in $(pwd) on $(hostname), $TERM"
umask
for fd in 0 1 2; do [ -t $fd ] && echo "$fd is a terminal"; done
echo to stderr >&2
[ -t 0 ] && stty size
exit 9
"""


def again(pod: Pod, path: Path, root: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status of a repetition, and the comparison. By runc, whatever recorded it: crun wants a
    machine with one kind of cgroups."""
    words = ["--session", str(path), "--rootfs", str(root), "--runtime", "runc"]
    done = run(
        [*PTYSHIPPER, "repro", *words, "--json", *options],
        {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(pod.directory / "data")},
    )
    assert done.stderr.endswith(b"}\n"), done.stderr
    return done.returncode, json.loads(done.stderr.splitlines()[-1])


def recorded(pod: Pod, root: Path, *command: str, tty: bool) -> Path:
    """Where a container's session was recorded to, by the bundle in its volume."""
    (root / "bin" / "program").write_text(PROGRAM)
    (root / "bin" / "program").chmod(0o755)
    name = pod.volume / "ptyshipper"
    name.symlink_to("log-shipper")
    words = (f"{VOLUME}/ptyshipper", "run", "--record", f"{VOLUME}/a.rec", "--", *command)
    with pod.bare(*words, root=root, tty=tty, cwd="/tmp", console_size=(40, 120)) as c:
        assert c.wait() == 9, (c.out, c.err)
    return pod.volume / "a.rec"


@pytest.fixture
def root(pod: Pod, images: Images, pytestconfig: pytest.Config) -> Path:
    if not Runtime("runc").is_installed:
        lacking(pytestconfig, "runc, or the right to run it,")
    root = pod.root(images[Image.BUSYBOX])
    for applet in ("hostname", "pwd", "stty", "id"):
        target = root / "bin" / applet
        if not target.exists():
            target.symlink_to("busybox")
    (root / "tmp").mkdir(exist_ok=True)
    return root


@pytest.mark.parametrize("tty", [False, True])
def test_the_same_program_compares_equal_and_a_changed_one_is_named(
    pod: Pod, root: Path, tty: bool
) -> None:
    path = recorded(pod, root, "program", "one", tty=tty)
    status, comparison = again(pod, path, root)
    assert (status, comparison["equal"]) == (9, True), comparison
    recorded_bytes = sum(one["recorded_bytes"] for one in comparison["streams"].values())
    assert recorded_bytes > 50
    program = root / "bin" / "program"
    program.unlink()
    program.write_text(PROGRAM.replace("to stderr", "to nobody"))
    program.chmod(0o755)
    status, comparison = again(pod, path, root, "--check")
    assert status == 1
    first = comparison["streams"]["tty" if tty else "stderr"]["first"]
    assert first["recorded"].rstrip() == "to stderr"
    assert first["repeated"].rstrip() == "to nobody"
    assert comparison["exit"]["equal"] is True
