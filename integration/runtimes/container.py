"""A container under a real runtime, driven as an orchestrator does it: create, attach, start, kill, wait.

::

    with container(runtime, Spec(root, ["/probe", "signals"], tty=True)) as c:
        c.expect("ready")
        c.console.resize(40, 100)
        c.kill(15)
        assert c.wait() == 143

The first process of the container is a child of ours (see ``_adopting_orphans``), so its true status
is known, which the runtimes' own commands don't tell.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE_S
from tests.support.terminal import set_winsize

_UNIFIED = "/sys/fs/cgroup/unified"
_PR_SET_CHILD_SUBREAPER = 36
_DEFAULT_CAPABILITIES = """
    CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID
    CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE
"""
"""What Docker and containerd leave to root."""


class User(Enum):
    """Who the container's program is: with the usual capabilities, or without any."""

    ROOT = 0
    UNPRIVILEGED = 65532


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime: the command line of it, ready for a subcommand."""

    name: str

    def command(self, *words: str) -> list[str]:
        argv = [self.name, *words]
        if self.name == "crun" and os.path.ismount(_UNIFIED):
            # With cgroup v1 and v2 side by side it looks for its controllers in v2, where there are
            # none. It sees v1 where v2 is not mounted.
            script = f'umount {_UNIFIED} && exec "$@"'
            return ["unshare", "--mount", "sh", "-c", script, "sh", *argv]
        return argv

    @property
    def is_installed(self) -> bool:
        return os.getuid() == 0 and shutil.which(self.name) is not None


@dataclass(frozen=True)
class Spec:
    """What is to run, and in what surroundings; the rest is as kubelet and containerd set it up.

    Args:
        root: the image's files; the runtime makes mount points in it.
        environ: entries as they are.
        stdin: whether it has one that a test writes to; else /dev/null, or the console.
        mounts: directories or files of the host, by where they are to be.
        read_only_mounts: the same.
        console_size: rows and columns that the terminal begins with; else 0 and 0.
    """

    root: Path
    argv: Sequence[str]
    environ: Sequence[str] = ()
    tty: bool = False
    stdin: bool = False
    read_only: bool = False
    user: User = User.ROOT
    cwd: str = "/"
    mounts: Mapping[str, Path] = field(default_factory=dict)
    read_only_mounts: Mapping[str, Path] = field(default_factory=dict)
    memory_bytes: int | None = None
    pids: int | None = None
    console_size: tuple[int, int] | None = None
    hostname: str = "web-0"

    def config(self, name: str) -> dict[str, Any]:
        """The runtime's config.json; the host's network, since the backend listens there."""
        privileged = _DEFAULT_CAPABILITIES.split() if self.user is User.ROOT else []
        process: dict[str, Any] = {
            "terminal": self.tty,
            "user": {"uid": self.user.value, "gid": self.user.value},
            "args": list(self.argv),
            "env": list(self.environ),
            "cwd": self.cwd,
            "noNewPrivileges": self.user is User.UNPRIVILEGED,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), privileged),
        }
        if self.console_size is not None:
            rows, columns = self.console_size
            process["consoleSize"] = {"height": rows, "width": columns}
        resources: dict[str, Any] = {}
        if self.memory_bytes is not None:
            resources["memory"] = {"limit": self.memory_bytes}
            if len(Path("/proc/swaps").read_text().splitlines()) > 1:
                resources["memory"]["swap"] = self.memory_bytes  # of both together
        if self.pids is not None:
            resources["pids"] = {"limit": self.pids}
        return {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": str(self.root), "readonly": self.read_only},
            "hostname": self.hostname,
            "mounts": [
                _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
                _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
                _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                       "mode=0620", "gid=5"),
                _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),
                _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
                *(_bind(where, path, "rw") for where, path in self.mounts.items()),
                *(_bind(where, path, "ro") for where, path in self.read_only_mounts.items()),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "cgroupsPath": f"/{name}",
                "resources": resources,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            },
        }  # fmt: skip


def _mount(where: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": kind, "options": list(options)}


def _bind(where: str, path: Path, access: str) -> dict[str, Any]:
    options = ["rbind", "rprivate", access]
    return {"destination": where, "type": "bind", "source": str(path), "options": options}


class Console:
    """The other side of a container's terminal, which runtimes hand to whoever attaches to it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def resize(self, rows: int, columns: int) -> None:
        set_winsize(self.fd, rows, columns)


class Output:
    """What has come out of one descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.data = bytearray()
        self.read_at = 0

    def take(self) -> bool:
        """Read once, when there is something; False at the end."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False  # EIO: nobody has the terminal open any more
        self.data += data
        return bool(data)


class Container:
    """One container, from its creation to its deletion.

    ``pid`` is its first process, as the host counts; ``out`` and ``err`` what came out so far, a
    terminal's in ``out``.
    """

    def __init__(self, runtime: Runtime, spec: Spec, directory: Path) -> None:
        self.name = f"ptyshipper-test-{os.getpid()}-{next(_numbers)}"
        self.spec = spec
        self.console: Console
        self.stdin_fd = -1
        self._runtime = runtime
        self._directory = directory
        self._outputs: list[Output] = []
        self._open: list[Output] = []
        self._status: int | None = None
        (directory / "config.json").write_text(json.dumps(spec.config(self.name)))
        self.pid = self._create()
        self._pidfd = os.pidfd_open(self.pid)

    def _create(self) -> int:
        pid_file = self._directory / "pid"
        words = ["create", "--bundle", str(self._directory), "--pid-file", str(pid_file)]
        if self.spec.tty:
            with socket.socket(socket.AF_UNIX) as listener:
                path = str(self._directory / "console")
                listener.bind(path)
                listener.listen()
                self._run(*words, "--console-socket", path, self.name)
                with listener.accept()[0] as connection:
                    _, (fd, *_), _, _ = socket.recv_fds(connection, 4096, 1)
            self.console = Console(fd)
            self._outputs = [Output(fd)]
        else:
            out, out_end = os.pipe()
            err, err_end = os.pipe()
            stdin, self.stdin_fd = os.pipe() if self.spec.stdin else (subprocess.DEVNULL, -1)
            self._run(*words, self.name, stdin=stdin, stdout=out_end, stderr=err_end)
            for fd in (out_end, err_end, stdin):
                if fd >= 0:
                    os.close(fd)
            self._outputs = [Output(out), Output(err)]
        self._open = self._outputs[:]
        return int(pid_file.read_text())

    def _run(self, *words: str, **stdio: Any) -> None:
        log = self._directory / "log"
        command = self._runtime.command(
            "--root", str(self._directory / "state"), "--log", str(log), *words
        )
        stdio = {"stdin": subprocess.DEVNULL, "stdout": None, "stderr": None} | stdio
        done = subprocess.run(command, timeout=PATIENCE_S, check=False, **stdio)
        assert done.returncode == 0, f"{words[0]}: {log.read_text() if log.exists() else ''}"

    def start(self) -> None:
        self._run("start", self.name)

    def kill(self, number: int) -> None:
        """As an orchestrator does: the runtime is told to."""
        self._run("kill", self.name, str(number))

    @property
    def out(self) -> bytes:
        return bytes(self._outputs[0].data)

    @property
    def err(self) -> bytes:
        return b"" if self.spec.tty else bytes(self._outputs[1].data)

    def _take(self, timeout_s: float) -> bool:
        """Read what comes within the time; whether the first process has ended."""
        fds = [output.fd for output in self._open]
        if self._status is None:
            fds.append(self._pidfd)
        readable, _, _ = select.select(fds, [], [], timeout_s)
        self._open = [o for o in self._open if o.fd not in readable or o.take()]
        return self._pidfd in readable

    def expect(self, text: bytes | str) -> bytes:
        """Wait until stdout has ``text`` behind what was expected before; what came with it."""
        wanted = text.encode() if isinstance(text, str) else text
        output = self._outputs[0]
        deadline = time.monotonic() + PATIENCE_S
        while (found := output.data.find(wanted, output.read_at)) < 0:
            left_s = deadline - time.monotonic()
            rest = bytes(output.data[output.read_at :])[-2000:]
            assert left_s > 0, f"{wanted!r} does not come, but {rest!r}; stderr {self.err!r}"
            assert output in self._open, f"the end came before {wanted!r}: {rest!r}; {self.err!r}"
            if self._take(left_s) and output in self._open:
                while output.take():
                    pass
                self._open.remove(output)
        start, output.read_at = output.read_at, found + len(wanted)
        return bytes(output.data[start : output.read_at])

    def read_now(self) -> bytes:
        """What stdout has had so far, up to this moment."""
        self._take(0)
        return self.out

    def type(self, data: bytes) -> None:
        """Write a little to its stdin, or type it."""
        fd = self.console.fd if self.spec.tty else self.stdin_fd
        assert os.write(fd, data) == len(data)

    def lines(self) -> list[str]:
        """What stdout has had so far, line by line."""
        return self.out.decode("utf-8", "backslashreplace").replace("\r\n", "\n").splitlines()

    def wait(self) -> int:
        """Read on to its end; the exit status as a shell has it."""
        deadline = time.monotonic() + PATIENCE_S
        while self._status is None or self._open:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"it does not end; stdout {self.out[-2000:]!r}, stderr {self.err!r}"
            if self._take(left_s) and self._status is None:
                status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                self._status = 128 - status if status < 0 else status
        return self._status

    def hang_up(self) -> None:
        """Whoever holds the console goes, and nothing more is read."""
        os.close(self.console.fd)
        self._outputs[0].fd = -1
        self._open.clear()

    def processes(self) -> list[int]:
        """All of its processes, as the host counts: those in the first one's pid namespace."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for path in Path("/proc").glob("[0-9]*/ns/pid"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if os.readlink(path) == namespace:
                    found.append(int(path.parts[2]))
        return sorted(found)

    def children(self, pid: int) -> list[int]:
        path = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(word) for word in path.read_text().split()]

    @property
    def memory_cgroup(self) -> Path:
        """The directory with the kernel's account of its memory; until it is deleted."""
        version_1 = Path("/sys/fs/cgroup/memory", self.name)
        return version_1 if version_1.exists() else Path("/sys/fs/cgroup", self.name)

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        events = self.memory_cgroup / "memory.oom_control"
        if not events.exists():
            events = self.memory_cgroup / "memory.events"
        return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])

    def delete(self) -> None:
        """Whatever state it is in."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        for fd in (*(output.fd for output in self._outputs), self.stdin_fd):
            if fd >= 0:
                os.close(fd)
        self._run("delete", "--force", self.name)


_numbers = count()


@contextlib.contextmanager
def container(runtime: Runtime, spec: Spec, *, start: bool = True) -> Iterator[Container]:
    """A container, started unless it is not wanted yet, and gone with all its processes at the end."""
    # Short: the path of a socket has room for 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="ptyshipper-container-"))
    try:
        with _adopting_orphans():
            created = Container(runtime, spec, directory)
            try:
                if start:
                    created.start()
                yield created
            finally:
                created.delete()
    finally:
        shutil.rmtree(directory)


_adopting = 0


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """A runtime's ``create`` ends and leaves its container behind: let it become our child."""
    global _adopting
    _adopting += 1
    _set_child_subreaper(True)
    try:
        yield
    finally:
        _adopting -= 1
        _set_child_subreaper(_adopting > 0)


def _set_child_subreaper(on: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
