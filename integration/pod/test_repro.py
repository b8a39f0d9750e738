"""repro in a real image, by podman: log-shipper mounted as AnvilOps mounts it, or around it all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.pod.images import missing_for
from integration.pod.podman import PROGRAM_IMAGE, Podman
from tests.support.bundle import BUNDLE, lacking
from tests.support.server import Server
from tests.support.terminal import Terminal
from tests.support.wrapping import BARE_ENVIRON, PTYSHIPPER, latest_session, run, stored_output

pytestmark = pytest.mark.pod


@pytest.fixture(scope="module")
def engine(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Podman]:
    """podman with the image of a shell, and nothing else of this machine."""
    missing = missing_for("podman", "runc", "busybox")
    if missing:
        lacking(pytestconfig, ", ".join(missing))
    running = Podman(tmp_path_factory.mktemp("podman"))
    yield running
    running.close()


class Case:
    """A pod of the image, and how to run it."""

    def __init__(self, directory: Path, podman: Podman, server: Server) -> None:
        self.server = server
        self.manifest = directory / "pod.yaml"
        self.environ = {**BARE_ENVIRON, **podman.environ}

    def write(self, script: str, *, grace_s: int = 1, **container: Any) -> None:
        about = {"name": "web", "image": PROGRAM_IMAGE, "command": ["/bin/sh", "-c", script]}
        spec = {"terminationGracePeriodSeconds": grace_s, "containers": [about | container]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
        self.manifest.write_text(json.dumps(document))

    def argv(self, *options: str) -> list[str]:
        data = ["--data", str(self.server.data_dir)]
        return [*PTYSHIPPER, "repro", str(self.manifest), *data, "--quiet", *options]

    def run(self, *options: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return run(self.argv(*options), self.environ, **more)


@pytest.fixture
def case(tmp_path: Path, engine: Podman, server: Server) -> Case:
    return Case(tmp_path, engine, server)


@pytest.fixture
def inside(case: Case, pytestconfig: pytest.Config) -> Case:
    if not BUNDLE.exists():
        lacking(pytestconfig, "dist/log-shipper (make bundle)")
    return case


def test_log_shipper_is_mounted_as_anvilops_mounts_it(inside: Case) -> None:
    inside.write(
        "cat /proc/1/cmdline; echo; echo $A $HOSTNAME; id -u; env | grep -c PRIVATE; exit 7",
        env=[{"name": "A", "value": "1"}],
        securityContext={"runAsUser": 1234},
    )
    done = inside.run()
    assert done.returncode == 7, done.stderr
    command, *rest = done.stdout.splitlines()
    assert b"log-shipper" in command
    assert rest == [b"1 web", b"1234", b"0"]
    session = latest_session(inside.server)
    assert stored_output(inside.server, session)["stdout"] == done.stdout
    assert session["hostname"] == "web"
    assert session["exit_code"] == 7


def test_without_it_the_program_is_process_1(case: Case) -> None:
    """And is recorded all the same, from outside."""
    case.write("echo pid $$$$; exit 7")
    done = case.run("--no-wrapper")
    assert (done.stdout, done.returncode) == (b"pid 1\n", 7)
    session = latest_session(case.server)
    assert stored_output(case.server, session)["stdout"] == b"pid 1\n"
    assert session["command"][0] == "/bin/sh"


@pytest.mark.parametrize("options", [[], ["--no-wrapper"]], ids=["inside", "outside"])
def test_on_a_terminal(inside: Case, options: list[str]) -> None:
    inside.write("stty size; sleep 1; stty size; read x; echo got $x", tty=True, stdin=True)
    argv = inside.argv(*options)
    with Terminal(argv, inside.environ, shell=True, rows=33, cols=101) as terminal:
        before = terminal.attributes()[:4]
        terminal.expect("33 101")
        terminal.type("hello\r")
        terminal.expect("got hello")
        assert terminal.wait() == 0
        assert terminal.attributes()[:4] == before


def test_is_stopped_as_kubernetes_stops(case: Case) -> None:
    """preStop in the container, the signal, the grace period, SIGKILL."""
    case.write(
        "trap 'echo term' TERM; echo ready; while :; do sleep 0.1; done",
        lifecycle={"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo pre > /proc/1/fd/1"]}}},
    )
    done = case.run("--no-wrapper", "--stop-after", "2")
    assert done.returncode == 137
    assert done.stdout == b"ready\npre\nterm\n"


def test_the_images_own_command(case: Case, engine: Podman) -> None:
    """Where the file says none; and its variables."""
    image = "localhost/own:latest"
    engine.run("rm", "--force", "--ignore", "made")
    engine.run("create", "--name=made", PROGRAM_IMAGE, "sh")
    change = ['--change=ENTRYPOINT ["/bin/sh", "-c"]', '--change=CMD ["echo own $B; exit 5"]']
    engine.run("commit", "--quiet", *change, "--change=ENV B=b", "made", image)
    case.write("", command=[], image=image)
    done = case.run("--no-wrapper")
    assert (done.stdout, done.returncode) == (b"own b\n", 5), done.stderr


def test_an_image_that_is_nowhere(case: Case) -> None:
    case.write("true", image="localhost/nowhere:latest")
    done = case.run()
    assert done.returncode == 2
    assert b"podman can't get the image localhost/nowhere:latest: " in done.stderr
    assert case.run("--where", "host").returncode == 0


def test_the_printed_line_runs(case: Case) -> None:
    case.write("echo $A; exit 3", env=[{"name": "A", "value": "two words"}])
    line = case.run("--print").stdout.decode()
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=case.environ, capture_output=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == (b"two words\n", 3), done.stderr
