"""podman with a state of its own, and the pods that it plays.

Nothing of the machine's own podman is read or changed: images, containers and configuration live in a
directory of the test's. What podman 4.3 does unlike a kubelet stands beside the code that mends it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import string
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from integration.pod.images import (
    IMAGE,
    Archive,
    storage_driver,
    storage_environ,
    write_program_image,
)
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.patience import PATIENCE_S, until
from tests.support.server import Server

NAME = "web-0"
"""The pod's; there is one at a time."""
PROGRAM_IMAGE = "localhost/program:latest"
VOLUME = "log-shipper-volume"
MOUNT = "/_private_anvilops_log_shipper"

_PAUSE_IMAGE = "localhost/pause:latest"
# fmt: off
_APPLETS = (
    "cat", "echo", "env", "grep", "id", "pwd", "sh", "sleep", "sort", "stty", "test", "touch", "true",
)
# fmt: on
# podman must not raise a limit that the machine does not let it raise. Locks, and all else that it
# would keep in /run and /etc, are files of ours: "system reset" deletes what it finds.
_CONTAINERS_CONF = """
[containers]
cgroups = "enabled"
log_driver = "k8s-file"
default_ulimits = ["nofile={nofile}:{nofile}", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{pause}"
lock_type = "file"
runtime = "runc"
tmp_dir = "{directory}/tmp"
[network]
network_config_dir = "{directory}/networks"
"""
_WARNING = re.compile(rb"ptyshipper: [^\n]*\n")


class Output(NamedTuple):
    """What a container wrote, as its runtime's log has it."""

    stdout: bytes
    stderr: bytes


class Podman:
    """The ``podman`` command with everything that it keeps in ``directory``.

    ``close`` takes all of it away again.
    """

    def __init__(self, directory: Path) -> None:
        driver = storage_driver(directory)
        self.environ = storage_environ(directory, driver, directory / "storage", directory / "run")
        config = directory / "containers.conf"
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        config.write_text(
            _CONTAINERS_CONF.format(nofile=nofile, pause=_PAUSE_IMAGE, directory=directory)
        )
        self.environ["CONTAINERS_CONF"] = str(config)
        program = directory / "program.tar"
        write_program_image(program, _APPLETS)
        self.run("import", "--quiet", "--change=ENV PATH=/bin", str(program), PROGRAM_IMAGE)
        # The pod's own container: it only has to be there, and to end when it is asked to.
        pause = json.dumps(["/bin/sh", "-c", "trap exit TERM; sleep 100000 & wait"])
        change = f"--change=ENTRYPOINT {pause}"
        self.run("import", "--quiet", "--change=ENV PATH=/bin", change, str(program), _PAUSE_IMAGE)

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = PATIENCE_S * 3) -> str:
        """One of podman's commands; what it prints.

        Raises:
            AssertionError: it failed; with what it said.
        """
        done = subprocess.run(
            ["podman", *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def load(self, archive: Archive) -> None:
        """Make the built image known to it."""
        self.run("load", "--quiet", f"--input={archive.path}")

    def inspect(self, container: str) -> dict[str, Any]:
        """What podman knows of a container."""
        (found,) = json.loads(self.run("container", "inspect", container))
        assert isinstance(found, dict)
        return found

    def wait(self, container: str) -> int:
        """Until the container has ended; its exit status."""
        return int(self.run("wait", container))

    def logs(self, container: str) -> Output:
        """All that it has written so far, in all its runs."""
        command = ["podman", "logs", container]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, timeout=PATIENCE_S, check=True
        )
        return Output(done.stdout, done.stderr)

    def close(self) -> None:
        """Take away all containers, images and mounts."""
        self.run("rm", "--all", "--force", "--time=0")
        self.run("system", "reset", "--force")


class Pod:
    """The pod that is being played: its containers by the names that they have in the manifest."""

    def __init__(self, podman: Podman) -> None:
        self._podman = podman

    def inspect(self, container: str) -> dict[str, Any]:
        return self._podman.inspect(f"{NAME}-{container}")

    def wait(self, container: str) -> int:
        return self._podman.wait(f"{NAME}-{container}")

    def logs(self, container: str) -> Output:
        return self._podman.logs(f"{NAME}-{container}")

    def signal(self, container: str, name: str) -> None:
        """Send one to the container's first process, as an orchestrator does."""
        self._podman.run("kill", f"--signal={name}", f"{NAME}-{container}")

    def start(self, container: str) -> None:
        """Again, after it has ended."""
        self._podman.run("start", f"{NAME}-{container}")

    def stop(self, container: str) -> None:
        """SIGTERM, and SIGKILL after a kubelet's usual grace period."""
        self._podman.run("stop", "--time=30", f"{NAME}-{container}")

    def kill(self, container: str) -> None:
        """kill -9 of the first process, behind podman's back: its restart policy applies."""
        os.kill(self.inspect(container)["State"]["Pid"], signal.SIGKILL)

    def printed(self, container: str) -> bytes:
        """What its app has written to stdout, or to its terminal, without the wrapper's warnings."""
        return _WARNING.sub(b"", self.logs(container).stdout)

    def expect(self, container: str, text: bytes, behind: int = 0) -> bytes:
        """Wait until the app has printed ``text``, ``behind`` bytes in or later; all of it then."""
        printed = b""

        def found() -> bool:
            nonlocal printed
            printed = self.printed(container)
            return text in printed[behind:]

        until(found, f"{container} prints {text!r}")
        return printed

    @property
    def volume(self) -> Path:
        """Where the shared volume is on the host."""
        return Path(self._podman.run("volume", "inspect", "--format={{.Mountpoint}}", VOLUME))


@contextmanager
def playing(podman: Podman, text: str) -> Iterator[Pod]:
    """A pod by its manifest, from its start until the end of the block, when it is killed."""
    pod = Pod(podman)
    try:
        podman.run("kube", "play", "--start=false", "-", stdin=text)
        pod.volume.chmod(0o777)  # as a kubelet makes an emptyDir; podman's is for one user only
        podman.run("pod", "start", NAME)
        yield pod
    finally:
        # Stopped first: rm stops it as well, but then waits 3 s for control groups to become free.
        podman.run("pod", "stop", "--time=0", "--ignore", NAME)
        podman.run("pod", "rm", "--force", "--time=0", "--ignore", NAME)


def manifest(
    server: Server,
    deployment_id: int,
    *,
    terminal: Sequence[str],
    pipes: Sequence[str],
    restart_policy: str = "Never",
    uids: tuple[int, int] = (0, 0),
    wrapped: bool = True,
) -> str:
    """``pod.yaml`` for these commands of the two app containers, and for users with these ids.

    Args:
        restart_policy: not "Always", by which podman 4.3 starts initContainers again and again.
        wrapped: False for the same pod as it is without AnvilOps' log shipper in it.
    """
    text = string.Template((Path(__file__).parent / "pod.yaml").read_text()).substitute(
        name=NAME,
        restart_policy=restart_policy,
        image=IMAGE,
        program_image=PROGRAM_IMAGE,
        terminal=json.dumps(list(terminal)),
        pipes=json.dumps(list(pipes)),
        terminal_uid=uids[0],
        pipes_uid=uids[1],
        endpoint=server.state.url + INGEST_PATH,
        token=server.state.ingest_token,
        deployment_id=deployment_id,
    )
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if wrapped or not line.lstrip().startswith("command:"))
