"""Much output, and many short runs: every byte arrives, at stdout as at the backend.

``PTYSHIPPER_LONG=1`` (as for ``make integration`` before a release) makes it 1 GB instead of 64 MB, in
every combination, and 1,000 runs instead of 200.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S, until
from tests.support.server import REPOSITORY, Server, running_server
from tests.support.stored import Stored, fresh_deployment_id, sessions_of
from tests.support.wrapping import LOG_SHIPPER, run, shipping_environ

LONG = os.environ.get("PTYSHIPPER_LONG") == "1"
RANDOM_BYTES = 10**9 if LONG else 64 * 10**6
RUNS = 1_000 if LONG else 200
AT_A_TIME = 4

SEND = """
import os, sys, hashlib, tty
if os.isatty(1):
    tty.setraw(1)
left, digest = int(sys.argv[1]), hashlib.sha256()
while left:
    data = memoryview(os.urandom(min(left, 1_000_000)))
    left -= len(data)
    digest.update(data)
    while data:
        data = data[os.write(1, data):]
with open(sys.argv[2], "w") as file:
    file.write(digest.hexdigest())
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Server]:
    """One of this test's own: what it holds, up to a gigabyte, goes with it."""
    with running_server(tmp_path) as server:
        yield server
    shutil.rmtree(server.data_dir)


class Digest:
    """Length and SHA-256 of bytes that are not kept."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)

    @property
    def value(self) -> tuple[int, str]:
        return self.size, self._hash.hexdigest()


def shown_by(argv: list[str], environ: dict[str, str], *, terminal: bool) -> tuple[int, str]:
    """Run it, with a terminal or a pipe for its stdout: length and hash of what came out."""
    out_fd, end = os.openpty() if terminal else os.pipe()
    if terminal:
        argv = ["setsid", "--ctty", *argv]
    digest = Digest()
    process = subprocess.Popen(
        argv,
        env=environ,
        stdin=end if terminal else subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.PIPE,
    )
    os.close(end)
    while True:
        try:
            data = os.read(out_fd, 2**20)
        except OSError:
            break  # EIO: the terminal's other side is closed
        if not data:
            break
        digest.take(data)
    os.close(out_fd)
    _, err = process.communicate(timeout=PATIENCE_S * 10)
    assert (process.returncode, err) == (0, b"")
    return digest.value


def stored_by(server: Server, deployment_id: int) -> tuple[int, str]:
    """Length and hash of what the backend holds of the deployment's one session, by ``logs --raw``."""
    (session,) = sessions_of(server, deployment_id)
    assert (session["state"], session["exit_code"], session["gaps"]) == ("exited", 0, 0)
    digest = Digest()
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ptyshipper",
            "logs",
            "--raw",
            "--data",
            server.data_dir,
            session["id"],
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        while data := reader.stdout.read(2**20):
            digest.take(data)
    assert reader.returncode == 0
    assert session["bytes"] == digest.size
    return digest.value


def digest_of(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_a_million_lines_are_complete(tmp_path: Path, backend: Server, terminal: bool) -> None:
    lines = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    expected = digest_of(lines.replace(b"\n", b"\r\n") if terminal else lines)
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(backend, tmp_path / "spool", deployment_id=str(deployment_id))
    assert shown_by([*LOG_SHIPPER, "seq", "1000000"], environ, terminal=terminal) == expected
    assert stored_by(backend, deployment_id) == expected


COMBINATIONS = [
    pytest.param(terminal, settings, id=f"{'terminal' if terminal else 'pipes'}-{name}")
    for terminal, name, settings in (
        (False, "block", {"spool_overflow": "block", "spool_max_bytes": "8M"}),
        (True, "large-bound", {"spool_max_bytes": "2G"}),
        (False, "large-bound", {"spool_max_bytes": "2G"}),
        (True, "block", {"spool_overflow": "block", "spool_max_bytes": "8M"}),
    )
]


@pytest.mark.parametrize(("terminal", "settings"), COMBINATIONS if LONG else COMBINATIONS[:2])
def test_random_bytes_are_complete(
    tmp_path: Path, backend: Server, terminal: bool, settings: dict[str, str]
) -> None:
    """As fast as they can be written: with ``block`` the program waits for the backend, with a bound
    that holds all of it nothing is dropped."""
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        backend,
        tmp_path / "spool",
        deployment_id=str(deployment_id),
        flush_timeout_s="300",
        **settings,
    )
    argv = [sys.executable, "-c", SEND, str(RANDOM_BYTES), str(tmp_path / "digest")]
    shown = shown_by([*LOG_SHIPPER, *argv], environ, terminal=terminal)
    assert shown == (RANDOM_BYTES, (tmp_path / "digest").read_text())
    assert stored_by(backend, deployment_id) == shown


def test_one_line_of_100_mb_is_complete(tmp_path: Path, backend: Server) -> None:
    size = 100_000_000
    program = f"import sys\nfor _ in range({size // 10**6}): sys.stdout.write('x' * 10**6)"
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        backend, tmp_path / "spool", deployment_id=str(deployment_id), spool_overflow="block"
    )
    expected = digest_of(b"x" * size)
    argv = [*LOG_SHIPPER, sys.executable, "-c", program]
    assert shown_by(argv, environ, terminal=False) == expected
    assert stored_by(backend, deployment_id) == expected


def test_programs_that_exit_at_once_are_complete(tmp_path: Path, backend: Server) -> None:
    """Four at a time, which is more than this machine has cores for: 20 lines, and gone."""
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        backend, tmp_path / "spool", deployment_id=str(deployment_id), flush_timeout_s="60"
    )

    def run_once(number: int) -> None:
        done = run([*LOG_SHIPPER, "seq", "-f", f"run {number} line %g", "20"], environ)
        assert (done.returncode, done.stdout, done.stderr) == (0, output_of(number), b"")

    with ThreadPoolExecutor(AT_A_TIME) as several:
        list(several.map(run_once, range(RUNS)))
    sessions = sessions_of(backend, deployment_id)
    assert len(sessions) == RUNS
    assert {(s["state"], s["exit_code"], s["gaps"]) for s in sessions} == {("exited", 0, 0)}
    stored = sorted(Stored(backend, session).streams[1] for session in sessions)
    assert stored == sorted(output_of(number) for number in range(RUNS))
    until(lambda: list((tmp_path / "spool").iterdir()) == [], "nothing is left in the spool")


def output_of(number: int) -> bytes:
    return b"".join(b"run %d line %d\n" % (number, line) for line in range(1, 21))
