"""A container in its image, by podman or docker, with log-shipper mounted as AnvilOps mounts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptyshipper.errors import UsageError
from ptyshipper.repro import image
from ptyshipper.repro.attach import run_command, run_until_taken
from ptyshipper.repro.container import Container
from ptyshipper.repro.documents import read
from ptyshipper.repro.switches import Switches
from ptyshipper.repro.wrapping import MOUNT, WRAPPER

ENGINES = ("podman", "docker")
_ANSWER_WITHIN_S = 30.0


def find_engine(wanted: str | None) -> str | None:
    """One that answers: docker's command is often there without its daemon.

    Raises:
        UsageError: the wanted one does not.
    """
    for name in (wanted,) if wanted else ENGINES:
        if shutil.which(name) and _asked([name, "version"]).returncode == 0:
            return name
    if wanted:
        raise UsageError(f"repro: {wanted} is not installed, or its engine does not answer")
    return None


def _asked(
    argv: Sequence[str], timeout_s: float | None = _ANSWER_WITHIN_S
) -> subprocess.CompletedProcess[str]:
    # Signals are blocked in here; a command must be killable.
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return subprocess.CompletedProcess(argv, 1, "", "does not answer")


def in_image(container: Container, engine: str) -> Container:
    """The container with what its image says; pulls the image where it is not there.

    Raises:
        UsageError: there is no such image.
    """
    assert container.image is not None
    if container.image.startswith("-"):
        raise UsageError(f"repro: {container.image[:60]!a} is no image's name")
    inspected = _asked([engine, "image", "inspect", container.image])
    if inspected.returncode:
        pulled = _asked([engine, "pull", container.image], timeout_s=None)
        if pulled.returncode:
            last = (pulled.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise UsageError(
                f"repro: {engine} can't get the image {container.image}: {last[:200]};"
                " --where host runs it without"
            )
        inspected = _asked([engine, "image", "inspect", container.image])
    (document,) = read(inspected.stdout, f"{engine} image inspect")
    (described,) = image.containers(document)
    return container.on_image(described)


@dataclass(frozen=True)
class Wrapping:
    """log-shipper in the container.

    Attributes:
        volume: the directory of this host that it is installed in.
        variables: its settings, a token among them.
    """

    volume: Path
    variables: dict[str, str]


def install(bundle: Path, volume: Path) -> None:
    """Put the bundle into a volume, as its own image does in a pod.

    Raises:
        UsageError: it can't be.
    """
    volume.mkdir(parents=True, exist_ok=True)
    # Its place may be one that others can write to, and what lies in it is run with the token.
    folder = os.open(volume.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = os.open(volume.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        raise UsageError(f"repro: {volume} is no directory of yours; remove it") from None
    finally:
        os.close(folder)
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise UsageError(f"repro: {volume} is no directory of yours; remove it")
        # As an emptyDir: the spool is in it, whoever the container runs as. Only owners replace files.
        os.fchmod(fd, 0o1777)
    finally:
        os.close(fd)
    try:
        done = subprocess.run(
            ["install-log-shipper", str(volume)], executable=bundle, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"repro: can't run {bundle}: {error.strerror}") from None
    if done.returncode:
        raise UsageError(f"repro: can't install {bundle}: {done.stderr.strip()[:200]}")


def command_line(
    engine: str, container: Container, switches: Switches, name: str, wrapping: Wrapping | None
) -> list[str]:
    """``podman run …`` up to the image's arguments, without variables: those stand in a file."""
    argv = [engine, "run", "--rm", "--name", name, "--network", "host"]
    argv += ["--tty"] if container.tty else []
    argv += ["--interactive"] if container.stdin else []
    argv += ["--hostname", container.hostname or container.name]
    if container.cwd:
        argv += ["--workdir", container.cwd]
    if switches.user and container.user is not None:
        group = (
            0 if container.group is None and isinstance(container.user, int) else container.group
        )
        argv += ["--user", f"{container.user}" if group is None else f"{container.user}:{group}"]
        argv += [word for one in container.groups for word in ("--group-add", str(one))]
    if container.read_only_root and switches.read_only_root:
        argv.append("--read-only")
        argv += ["--read-only-tmpfs=false"] if engine == "podman" else []
    argv += [word for path in container.scratch for word in ("--tmpfs", path)]
    if container.memory_bytes is not None and switches.memory_limit:
        argv += ["--memory", str(container.memory_bytes)]
    if container.cpus is not None:
        argv += ["--cpus", f"{container.cpus:g}"]
    if switches.rlimits:
        for limit, (soft, hard) in container.rlimits.items():
            argv += ["--ulimit", f"{limit.lower()}={soft}:{hard}"]
    if container.umask is not None and engine == "podman":
        argv += ["--umask", f"{container.umask:04o}"]
    if container.privileged:
        argv.append("--privileged")
    elif switches.capabilities:
        argv += [word for one in container.drop_capabilities for word in ("--cap-drop", one)]
        argv += [word for one in container.add_capabilities for word in ("--cap-add", one)]
    if container.no_new_privileges:
        argv += ["--security-opt", "no-new-privileges"]
    if not switches.pid_namespace:
        argv += ["--pid", "host"]
    if wrapping is not None:
        argv += ["--volume", f"{wrapping.volume}:{MOUNT}"]
    return argv


def with_image(argv: Sequence[str], container: Container, wrapping: Wrapping | None) -> list[str]:
    """The rest of the command line: the entry point, the image and its arguments."""
    words = list(container.argv)
    if wrapping is not None:
        words.insert(0, f"{MOUNT}/{WRAPPER}")
    entry = ["--entrypoint", words[0]] if words else []
    return [*argv, *entry, container.image or "", *words[1:]]


class EngineRun:
    """A run by an engine: its command line, the file of its variables, and how it is reached."""

    def __init__(
        self, engine: str, container: Container, switches: Switches, wrapping: Wrapping | None
    ) -> None:
        self._engine = engine
        self._container = container
        self._directory = Path(tempfile.mkdtemp(prefix="ptyshipper-repro-"))
        self._name = self._directory.name
        variables = dict(container.env) | (wrapping.variables if wrapping else {})
        plain = {name: value for name, value in variables.items() if "\n" not in value + name}
        # A file, which is ours alone, and no arguments: those are everybody's to read.
        path = self._directory / "variables"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in plain.items()))
        base = command_line(engine, container, switches, self._name, wrapping)
        base += ["--env-file", str(path)]
        self.environ = dict(os.environ)
        for variable, value in variables.items():
            if variable not in plain:  # lines that a file of lines can't hold
                base += ["--env", variable]
                self.environ[variable] = value
        self.argv = with_image(base, container, wrapping)

    def signal(self, leader: int) -> None:
        self._kill(self._container.stop_signal)

    def kill(self, leader: int) -> None:
        self._kill("KILL")

    def _kill(self, signal: str) -> None:
        run_until_taken([self._engine, "kill", "--signal", signal, self._name])

    def run_pre_stop(self) -> int:
        hook = self._container.pre_stop
        assert hook is not None
        return run_command([self._engine, "exec", self._name, *hook.command])

    def remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def printed(
    engine: str, container: Container, switches: Switches, hidden: frozenset[str]
) -> list[str]:
    """The command line for a person to use; variables that were given are named, not shown."""
    argv = command_line(engine, container, switches, f"{container.name}-repro", None)
    for name, value in container.env:
        argv += ["--env", name if name in hidden else f"{name}={value}"]
    return with_image(argv, replace(container), None)
