"""A container on this host: what of it can be had here, and how its processes are reached."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from ptyshipper.child.environment import Environment
from ptyshipper.child.spawn import Command, execute, failure_to_start
from ptyshipper.errors import UsageError
from ptyshipper.repro import capabilities, syscalls
from ptyshipper.repro.attach import become_quiet, tell_started
from ptyshipper.repro.container import Container, Limit
from ptyshipper.repro.enter import NAMESPACES, Entry, Surroundings, can_isolate
from ptyshipper.repro.environment import environment
from ptyshipper.repro.signal_names import signal_number
from ptyshipper.repro.switches import Switches

DEFAULT_UMASK = 0o022
_PID = struct.Struct("=i")


@dataclass(frozen=True)
class HostPlan:
    """How a container runs here.

    Attributes:
        refusal: why there are no namespaces, where there are none though they are wanted.
        wrong_cwd: the container's directory, which is not here.
        unknown_user: the user's name, of which only the image knows the number.
    """

    container: Container
    surroundings: Surroundings
    argv: tuple[str, ...]
    env: dict[str, str]
    refusal: str | None
    wrong_cwd: str | None
    unknown_user: str | None
    is_root: bool

    @property
    def command(self) -> Command:
        entries = (f"{name}={value}" for name, value in self.env.items())
        return Command(
            [os.fsencode(word) for word in self.argv],
            Environment(os.fsencode(entry) for entry in entries),
        )

    def printed(self, hidden: frozenset[str]) -> str:
        """The nearest that util-linux and coreutils come to it; hidden variables are named, not shown."""
        to = self.surroundings
        argv: list[str] = []
        if to.isolates:
            argv += ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc"]
            if to.maps_user:
                ids = ((to.uid, os.geteuid()), (to.gid, os.getegid()))
                uid, gid = (own if one is None else one for one, own in ids)
                argv += [f"--map-user={uid}", f"--map-group={gid}"]
        if not self.container.tty:
            argv += ["setsid", "--wait"]
        limits = [
            f"--{name.lower()}={soft}:{hard}"
            for name, (soft, hard) in self.container.rlimits.items()
        ]
        argv += ["prlimit", *limits, "--"] if limits else []
        if not to.maps_user and to.gid is not None and to.uid is not None:
            argv += ["setpriv", f"--reuid={to.uid}", f"--regid={to.gid}"]
            argv += (
                [f"--groups={','.join(map(str, to.groups))}"] if to.groups else ["--clear-groups"]
            )
        directory = ["--chdir", to.cwd] if to.cwd is not None else []
        parts = [shlex.join([*argv, "env", *directory, "-i"])]
        for name, value in self.env.items():
            is_hidden = name in hidden and name.isidentifier()
            parts.append(f'{name}="${name}"' if is_hidden else shlex.quote(f"{name}={value}"))
        return " ".join([*parts, shlex.join(self.argv)])


def host_plan(container: Container, switches: Switches) -> HostPlan:
    """What can be had here is tried, so that what is said of it is true.

    Raises:
        UsageError: nobody says what is to be run.
    """
    argv = container.argv or container.args or ()
    if not argv:
        raise UsageError(
            f"repro: {container.source or container.name} has no command of its own; give the image's"
            " by --image-config, or run it in the image"
        )
    is_root = os.geteuid() == 0
    uid, gid, unknown = _ids(container) if switches.user else (None, None, None)
    limits = _limits(container, switches)
    drops: tuple[int, ...] = ()
    if switches.capabilities and (is_root or switches.pid_namespace):
        names = capabilities.kept(
            container.add_capabilities, container.drop_capabilities, privileged=container.privileged
        )
        drops = tuple(capabilities.numbers_without(names))
    cwd = container.cwd or "/"
    wrong_cwd = None if os.path.isdir(cwd) else cwd
    groups = (
        container.groups if gid is None else (gid, *(one for one in container.groups if one != gid))
    )
    surroundings = Surroundings(
        isolates=switches.pid_namespace,
        maps_user=switches.pid_namespace and not is_root,
        hostname=container.hostname,
        read_only=container.read_only_root and switches.read_only_root,
        scratch=tuple(path for path in container.scratch if os.path.isdir(path)),
        uid=uid,
        gid=gid,
        groups=groups if is_root else (),
        umask=DEFAULT_UMASK if container.umask is None else container.umask,
        limits=limits,
        drops=drops,
        no_new_privileges=container.no_new_privileges,
        cwd=None if wrong_cwd else cwd,
    )
    refusal = None
    if surroundings.isolates:
        failure = can_isolate(surroundings)
        if failure is not None and (surroundings.read_only or surroundings.scratch):
            surroundings = replace(surroundings, read_only=False, scratch=())
            again = can_isolate(surroundings)
            failure = again
        if failure is not None:
            refusal = failure.strerror
    if not surroundings.isolates or refusal:
        surroundings = replace(
            surroundings,
            isolates=False,
            maps_user=False,
            hostname=None,
            read_only=False,
            scratch=(),
        )
        if not is_root:
            surroundings = replace(surroundings, uid=None, gid=None, drops=())
    return HostPlan(
        container,
        surroundings,
        argv,
        environment(
            container,
            None if switches.clean_env else os.environ,
            is_root=(os.geteuid() if surroundings.uid is None else surroundings.uid) == 0,
        ),
        refusal,
        wrong_cwd,
        unknown,
        is_root,
    )


def _ids(container: Container) -> tuple[int | None, int | None, str | None]:
    """User and group. Where the user is named and the group is not, that is 0, as runtimes have it."""
    numbers = [0 if one == "root" else one for one in (container.user, container.group)]
    names = [one for one in numbers if isinstance(one, str)]
    if names:
        return None, None, names[0]
    uid, gid = (one if isinstance(one, int) else None for one in numbers)
    if uid is None and os.geteuid() == 0:
        uid = 0  # as in most images
    if uid is not None and gid is None:
        gid = 0
    return uid, gid, None


def _limits(container: Container, switches: Switches) -> tuple[tuple[int, int, int], ...]:
    wanted = dict(container.rlimits) if switches.rlimits else {}
    if container.memory_bytes is not None and switches.memory_limit and "DATA" not in wanted:
        wanted["DATA"] = Limit(container.memory_bytes, container.memory_bytes)
    return tuple(
        (getattr(resource, f"RLIMIT_{name}"), limit.soft, limit.hard)
        for name, limit in wanted.items()
        if is_limit(name)
    )


def is_limit(name: str) -> bool:
    """Whether setrlimit(2) has it here."""
    return hasattr(resource, f"RLIMIT_{name}")


class HostTarget:
    """Processes of this host. ``tell`` is for the container's side, the rest for ours."""

    def __init__(self, plan: HostPlan) -> None:
        self._plan = plan
        self._read_end, self.write_end = os.pipe()
        self._first = 0

    def tell(self, pid: int) -> None:
        os.write(self.write_end, _PID.pack(pid))

    def _first_pid(self) -> int:
        """The container's first process; 0 where it never began."""
        if not self._first:
            os.set_blocking(self._read_end, False)
            try:
                self._first = _PID.unpack(os.read(self._read_end, _PID.size))[0]
            except (BlockingIOError, struct.error):
                return 0
        return self._first

    def signal(self, leader: int) -> None:
        os.kill(leader, signal_number(self._plan.container.stop_signal))

    def kill(self, leader: int) -> None:
        """All of it: with process 1 of its namespace the kernel ends every other."""
        pid = self._first_pid() or leader
        try:
            if self._plan.surroundings.isolates:
                os.kill(pid, signal.SIGKILL)
            else:
                os.killpg(os.getpgid(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass

    def run_pre_stop(self) -> int:
        """In the container's namespaces, as its user, with its environment; what it prints is nobody's."""
        hook = self._plan.container.pre_stop
        assert hook is not None
        first = self._first_pid()
        pid = os.fork()
        if pid == 0:
            become_quiet(lambda: self._become_hook(hook.command, first))
        return pid

    def _become_hook(self, words: tuple[str, ...], first: int) -> NoReturn:
        surroundings = self._plan.surroundings
        if surroundings.isolates and first:
            extra = syscalls.CLONE_NEWUSER if surroundings.maps_user else 0
            syscalls.setns(os.pidfd_open(first), NAMESPACES | extra)
            inside = os.fork()  # the pid namespace is its children's
            if inside:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1]) & 0xFF)
        if not self._plan.container.is_wrapped:  # else the program's mounts are its own
            surroundings = replace(surroundings, read_only=False, scratch=())
        Entry(surroundings, self.tell).become()
        command = replace(self._plan, argv=words).command
        raise failure_to_start(command.argv[0], execute(command))


def host_runner(
    plan: HostPlan, target: HostTarget, wrap: Callable[[Command, bool], NoReturn]
) -> Callable[[int], NoReturn]:
    """What becomes the container.

    Args:
        wrap: runs a command under log-shipper; whether it has a terminal.
    """
    entry = Entry(plan.surroundings, target.tell)

    def run(told_fd: int) -> NoReturn:
        def enter() -> None:
            if not plan.container.is_wrapped:
                entry.isolate()
            entry.become()
            tell_started(told_fd)

        if plan.container.is_wrapped:
            entry.isolate()
        command = plan.command
        command.enter, command.enter_fds = enter, (told_fd, target.write_end)
        wrap(command, plan.container.tty)

    return run
