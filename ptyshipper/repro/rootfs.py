"""A container in an unpacked root, by runc or crun: its config.json, and how it is reached.

Source: the OCI runtime specification, config.md and config-linux.md.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptyshipper.errors import UsageError
from ptyshipper.repro import capabilities
from ptyshipper.repro.accounts import ids
from ptyshipper.repro.attach import run_command, run_until_taken
from ptyshipper.repro.container import Container
from ptyshipper.repro.environment import environment
from ptyshipper.repro.host import DEFAULT_UMASK
from ptyshipper.repro.signal_names import signal_number
from ptyshipper.repro.switches import Switches

RUNTIMES = ("runc", "crun")
_PERIOD_US = 100_000
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


def find_runtime(wanted: str | None) -> str:
    """Raises UsageError where there is none."""
    for name in (wanted,) if wanted else RUNTIMES:
        if shutil.which(name):
            return name
    raise UsageError(
        f"repro: {wanted or ' or '.join(RUNTIMES)} is not installed; --rootfs needs it"
    )


def config(container: Container, root: Path, switches: Switches) -> dict[str, Any]:
    """The runtime's config.json, as containerd would write it but for the network, which is this host's.

    Raises:
        UsageError: nobody says what is to be run, or as whom.
    """
    if not container.argv and not container.args:
        raise UsageError(
            f"repro: {container.source or container.name} has no command of its own; give the image's"
            " by --image-config"
        )
    is_root = os.geteuid() == 0
    uid, gid = ids(container, root) if switches.user else (0, 0)
    values = environment(container, None if switches.clean_env else os.environ, is_root=uid == 0)
    if not any(name == "HOME" for name, _ in container.env):
        values.pop("HOME")  # the runtime looks it up
    namespaces = ["ipc", "uts", "mount", *(["pid"] if switches.pid_namespace else [])]
    names = capabilities.kept(
        container.add_capabilities if switches.capabilities else ("ALL",),
        container.drop_capabilities if switches.capabilities else (),
        privileged=container.privileged,
    )
    held = sorted(f"CAP_{name}" for name in names & capabilities.available())
    bounding = dict.fromkeys(("bounding", "effective", "permitted"), held)
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    if is_root:
        linux["resources"] = _resources(container, switches)
    else:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": uid, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": gid, "hostID": os.getegid(), "size": 1}]
    return {
        "ociVersion": "1.0.2",
        "hostname": container.hostname or container.name,
        "root": {
            "path": str(root.absolute()),
            "readonly": container.read_only_root and switches.read_only_root,
        },
        "process": {
            "terminal": container.tty,
            "user": {
                "uid": uid,
                "gid": gid,
                "additionalGids": [gid, *(one for one in container.groups if one != gid)]
                if is_root
                else [],
                "umask": DEFAULT_UMASK if container.umask is None else container.umask,
            },
            "args": list(container.argv or container.args or ()),
            "env": [f"{name}={value}" for name, value in values.items()],
            "cwd": container.cwd or "/",
            "noNewPrivileges": container.no_new_privileges,
            "capabilities": bounding if uid == 0 else {"bounding": held},
            "rlimits": [
                {"type": f"RLIMIT_{name}", "soft": limit.soft % 2**64, "hard": limit.hard % 2**64}
                for name, limit in container.rlimits.items()
                if switches.rlimits
            ],
        },
        "mounts": _mounts(container, is_root=is_root),
        "linux": linux,
    }


def _resources(container: Container, switches: Switches) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if container.memory_bytes is not None and switches.memory_limit:
        resources["memory"] = {"limit": container.memory_bytes}
    if container.cpus is not None:
        resources["cpu"] = {"quota": int(container.cpus * _PERIOD_US), "period": _PERIOD_US}
    return resources


def _mounts(container: Container, *, is_root: bool) -> list[dict[str, Any]]:
    # Without root only our own group can be named, and sysfs belongs to who has the network.
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if is_root:
        terminals.append("gid=5")
        sys = _mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
    else:
        sys = _mount("/sys", "none", ["rbind", "nosuid", "noexec", "nodev", "ro"], source="/sys")
    return [
        _mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", terminals),
        _mount("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777"]),
        _mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        sys,
        *(_mount(path, "tmpfs", ["nosuid", "nodev", "mode=1777"]) for path in container.scratch),
    ]


def _mount(where: str, kind: str, options: list[str], source: str = "") -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": source or kind, "options": options}


class Bundle:
    """A directory that a runtime runs from, gone at the end; and how what runs is reached."""

    def __init__(self, runtime: str, container: Container, config: dict[str, Any]) -> None:
        self._container = container
        self._runtime = runtime
        self.directory = Path(tempfile.mkdtemp(prefix="ptyshipper-repro-"))
        self._name = self.directory.name
        (self.directory / "config.json").write_text(json.dumps(config, indent=2))

    def _command(self, *words: str) -> list[str]:
        return [self._runtime, "--root", str(self.directory / "state"), *words]

    @property
    def argv(self) -> list[str]:
        return self._command("run", "--bundle", str(self.directory), self._name)

    def signal(self, leader: int) -> None:
        # By number: runc knows no real-time signal by its name.
        number = signal_number(self._container.stop_signal)
        run_until_taken(self._command("kill", self._name, str(number)))

    def kill(self, leader: int) -> None:
        run_until_taken(self._command("kill", self._name, "KILL"))

    def run_pre_stop(self) -> int:
        hook = self._container.pre_stop
        assert hook is not None
        return run_command(self._command("exec", self._name, *hook.command))

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def printed(runtime: str, config: dict[str, Any]) -> tuple[Sequence[str], str]:
    """The command line that stands for it, and the file that it reads."""
    return [runtime, "run", "--bundle", ".", "repro"], json.dumps(config, indent=2)
