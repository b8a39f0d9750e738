"""The self-contained program on this machine; in other roots and real containers: ``runtimes``."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ptyshipper import __version__
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.bundle import BUNDLE, install, lacking
from tests.support.executing import execute, ignored_signals
from tests.support.patience import until
from tests.support.running import Running
from tests.support.server import Server
from tests.support.stored import fresh_deployment_id, only_session
from tests.support.tls_front import make_authority, tls_front
from tests.support.wrapping import run, shipping_environ

PROGRAM = ["sh", "-c", "echo out; echo err >&2; exit 7"]


@pytest.fixture(scope="module")
def volume(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the bundle was installed."""
    if not BUNDLE.exists():
        lacking(pytestconfig, "dist/log-shipper (make bundle)")
    directory = tmp_path_factory.mktemp("bundle") / "volume"
    install(directory)
    return directory


@pytest.fixture(scope="module")
def ptyshipper(volume: Path) -> str:
    """The same launcher, by its other name."""
    link = volume / "ptyshipper"
    link.symlink_to("log-shipper")
    return str(link)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder)
    return folder


@pytest.fixture
def tls_port(server: Server, authority: Path) -> Iterator[int]:
    port = urlsplit(server.state.url).port
    assert port is not None
    with tls_front(authority / "server.pem", port) as listening:
        yield listening


def test_it_wraps_and_ships(volume: Path, server: Server, tmp_path: Path) -> None:
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, tmp_path, deployment_id=str(deployment_id))
    done = run([str(volume / "log-shipper"), *PROGRAM], environ)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    stored = only_session(server, deployment_id)
    assert (stored.streams[1], stored.streams[2]) == (b"out\n", b"err\n")
    assert stored.summary["exit_code"] == 7


def test_on_a_terminal(volume: Path, server: Server, tmp_path: Path) -> None:
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, tmp_path, deployment_id=str(deployment_id))
    running = Running([str(volume / "log-shipper"), "tty"], environ, terminal=True)
    assert running.wait() == 0
    assert running.printed[1].startswith(b"/dev/pts/")
    assert only_session(server, deployment_id).streams[0] == running.printed[1]


def test_over_tls_with_a_private_authority(
    volume: Path, server: Server, authority: Path, tls_port: int, tmp_path: Path
) -> None:
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(
        server, tmp_path, deployment_id=str(deployment_id),
        endpoint=f"https://localhost:{tls_port}{INGEST_PATH}", ca_file=str(authority / "ca.pem"),
    )  # fmt: skip
    done = run([str(volume / "log-shipper"), *PROGRAM], environ)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert only_session(server, deployment_id).streams[1] == b"out\n"


def test_over_tls_to_whom_nobody_trusts(
    volume: Path, server: Server, tls_port: int, tmp_path: Path
) -> None:
    environ = shipping_environ(
        server, tmp_path, endpoint=f"wss://localhost:{tls_port}{INGEST_PATH}", flush_timeout_s="2"
    )
    done = run([str(volume / "log-shipper"), *PROGRAM], environ)
    assert (done.returncode, done.stdout) == (7, b"out\n")
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith(b"ptyshipper: ")]
    assert b"certificate can't be verified" in warning


def test_what_was_not_delivered_waits_in_the_volume(volume: Path, server: Server) -> None:
    """Nobody has to name the place: a container's restart finds it again."""
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, deployment_id=str(deployment_id), flush_timeout_s="0")
    wrapped = Running([str(volume / "log-shipper"), "sh", "-c", "echo x; exec sleep 60"], environ)
    until(lambda: wrapped.out == b"x\n", "it prints")
    until(lambda: list(volume.glob(f"ptyshipper-{os.geteuid()}/*/*.seg")), "it is spooled")
    wrapped.kill()
    run([str(volume / "log-shipper"), "sleep", "1"], shipping_environ(server, deployment_id="1"))
    stored = only_session(server, deployment_id)
    assert (stored.streams[1], stored.summary["state"]) == (b"x\n", "cut")
    assert not list(volume.glob("ptyshipper-*"))


def test_a_signal_that_was_ignored_stays_so(volume: Path) -> None:
    """CPython ignores SIGPIPE itself before its first line runs; the launcher looks before."""
    script = f"trap '' PIPE; exec {volume}/log-shipper grep SigIgn /proc/self/status"
    ignored, plain = (
        int(run(argv, {}).stdout.split()[1], 16)
        for argv in (
            ["sh", "-c", script],
            [f"{volume}/log-shipper", "grep", "SigIgn", "/proc/self/status"],
        )
    )
    assert (ignored, plain) == (1 << 12 | ignored_signals(), ignored_signals())


@pytest.mark.parametrize("limit", [6, 8, 10, 12, 13, 14, 15, 16, 17, 18, 24])
def test_with_few_descriptors_the_program_runs_all_the_same(
    volume: Path, server: Server, tmp_path: Path, limit: int
) -> None:
    """And where the wrapper runs, what was printed arrives."""
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server, tmp_path, deployment_id=str(deployment_id))
    wrapper = f"ulimit -n {limit}; exec {volume}/log-shipper sh -c 'echo out; exit 7'"
    done = run(["sh", "-c", wrapper], environ)
    assert (done.returncode, done.stdout) == (7, b"out\n")
    if not done.stderr:
        assert only_session(server, deployment_id).streams[1] == b"out\n"
    else:
        assert done.stderr == (
            b"ptyshipper: can't start a process (Too many open files);"
            b" the program runs without the wrapper\n"
        )
    assert bool(done.stderr) == (limit < 17)


@pytest.mark.parametrize("limit_bytes", [0, 100, resource.RLIM_INFINITY])
def test_odd_entries_arrive_whole_whatever_the_limit_of_files(
    volume: Path, limit_bytes: int
) -> None:
    """RLIMIT_FSIZE also holds for the file in memory that they are handed on in."""
    environ = [b"TWICE=1", b"LONG=" + b"x" * 5_000, b"TWICE=2", b"NOVALUE", b"=nameless"]
    read_end, write_end = os.pipe()

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
        os.dup2(write_end, 1)

    argv = ["log-shipper", "/bin/cat", "/proc/self/environ"]
    ended = execute(volume / "log-shipper", argv, environ, setup=setup)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert (ended.status, pipe.read().split(b"\0")) == (0, [*environ, b""])


def test_its_other_name_is_the_local_command(
    ptyshipper: str, server: Server, tmp_path: Path
) -> None:
    deployment_id = fresh_deployment_id()
    environ = shipping_environ(server)
    words = ["run", "--deployment", str(deployment_id), "--data", str(tmp_path), "--", *PROGRAM]
    done = run([ptyshipper, *words], environ)
    assert (done.returncode, done.stdout) == (7, b"out\n"), done.stderr
    assert only_session(server, deployment_id).streams[1] == b"out\n"


def test_its_help_and_its_version(ptyshipper: str) -> None:
    assert run([ptyshipper, "--version"], {}).stdout == f"ptyshipper {__version__}\n".encode()
    shown = run([ptyshipper, "run", "--help"], {})
    assert shown.returncode == 0, shown.stderr
    assert b"--spool-max" in shown.stdout


def test_its_help_offers_what_it_has(ptyshipper: str) -> None:
    shown = run([ptyshipper, "--help"], {}).stdout.decode()
    assert re.findall(r"^    (\w+) ", shown, re.MULTILINE) == ["run", "install"]
    assert re.findall(r"^  ptyshipper (\w+)", shown, re.MULTILINE) == ["run"]
    assert "read it back" not in shown


@pytest.mark.parametrize("command", [["serve"], ["sessions"], ["logs", "latest"]])
def test_what_it_leaves_out_it_says(ptyshipper: str, command: list[str], tmp_path: Path) -> None:
    done = run([ptyshipper, *command, "--data", str(tmp_path)], {})
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"ptyshipper: {command[0]}: the self-contained log-shipper only wraps".encode()
    )
    assert done.stderr.count(b"\n") == 1
    assert b"pip install 'ptyshipper[serve]'" in done.stderr


def test_it_installs_where_it_has_its_installer_beside_it(tmp_path: Path, volume: Path) -> None:
    """In the image's root; a volume has none."""
    argv = ["ptyshipper", "install", str(tmp_path / "other")]
    refused = execute(volume / "log-shipper", argv)
    assert refused.status == 1
    assert "use the file or the image that it came from" in refused.err
    done = execute(BUNDLE.parent / "image" / "log-shipper", argv)
    assert (done.status, done.err) == (0, "")
    assert run([str(tmp_path / "other" / "log-shipper"), "true"], {}).returncode == 0


def test_the_source_install_hands_over_to_it(volume: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "ptyshipper", "install", str(tmp_path / "other")]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run([str(tmp_path / "other" / "log-shipper"), "true"], {}).returncode == 0
