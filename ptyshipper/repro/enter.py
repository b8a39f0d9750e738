"""Become a container's process, on this host: namespaces, mounts, ids, limits, in the order of a runtime.

Runs in a forked child just before its exec. Two steps, so that log-shipper can be process 1 where the
manifest has it so: ``Entry.isolate`` returns in process 1 of new namespaces, ``Entry.become`` gives up the
rights that setting up took. What cannot be done is said on the program's stderr, as a runtime says it.

Not by util-linux' ``unshare``: it is not everywhere in a version that can map a user, and between it and
the program would stand another exec, whose failure would not be told apart from the program's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ptyshipper.child.stdio import put_null
from ptyshipper.repro import syscalls
from ptyshipper.repro.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

NAMESPACES = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC
_CANNOT_ENTER = 126
_ALL = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


@dataclass(frozen=True)
class Surroundings:
    """What a process is given on this host; None leaves it as it is.

    Attributes:
        maps_user: the ids are mapped onto this user's by a user namespace: we are not root.
        drops: numbers of capabilities to give up.
        limits: by the numbers of ``resource``.
    """

    isolates: bool
    maps_user: bool = False
    hostname: str | None = None
    read_only: bool = False
    scratch: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    umask: int | None = None
    limits: tuple[tuple[int, int, int], ...] = ()
    drops: tuple[int, ...] = ()
    no_new_privileges: bool = False
    cwd: str | None = None


class Entry:
    """One process's way in.

    Args:
        tell: called with the process id, as it is out here, of whoever is killed to end it all.
    """

    def __init__(self, surroundings: Surroundings, tell: Callable[[int], None]) -> None:
        self._to = surroundings
        self._tell = tell

    def isolate(self) -> None:
        """Return as process 1; whoever called stays behind, looks after it and ends as it ends."""
        try:
            self._isolate()
        except OSError as error:
            refuse(error)

    def become(self) -> None:
        """Give up what a container's process has not."""
        try:
            self._become()
        except (OSError, ValueError) as error:
            refuse(error)

    def _isolate(self) -> None:
        if not self._to.isolates:
            self._tell(os.getpid())
            if not os.isatty(0):
                with contextlib.suppress(PermissionError):  # it leads one already
                    os.setsid()
            return
        uid, gid = os.geteuid(), os.getegid()
        syscalls.unshare(NAMESPACES | (CLONE_NEWUSER if self._to.maps_user else 0))
        if self._to.maps_user:
            _map_user(
                uid if self._to.uid is None else self._to.uid,
                gid if self._to.gid is None else self._to.gid,
                (uid, gid),
            )
        has_terminal = os.isatty(0)
        if has_terminal:
            _give_up_terminal()
        pid = os.fork()
        if pid:
            _look_after(pid, self._tell)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if has_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        _mount_proc()
        if self._to.hostname is not None:
            socket.sethostname(self._to.hostname)

    def _become(self) -> None:
        if self._to.read_only or self._to.scratch:
            if os.getpid() != 1:
                syscalls.unshare(CLONE_NEWNS)
            self._mount()
        for which, soft, hard in self._to.limits:
            _set_limit(which, soft, hard)
        for number in self._to.drops:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
        if not self._to.maps_user:
            if self._to.gid is not None:
                os.setgroups(self._to.groups)
                os.setresgid(*[self._to.gid] * 3)
            if self._to.uid is not None:
                os.setresuid(*[self._to.uid] * 3)
        if self._to.isolates and os.getpid() == 1:
            # A change of ids takes it away (prctl(2)), and a kill -9 of ours would leave the container.
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._to.no_new_privileges:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        if self._to.umask is not None:
            os.umask(self._to.umask)
        if self._to.cwd is not None:
            os.chdir(self._to.cwd)

    def _mount(self) -> None:
        """The root read-only but for devices and what begins empty; /proc is the namespace's own."""
        if self._to.read_only:
            syscalls.set_read_only("/", True)
            syscalls.set_read_only("/dev", False)
            syscalls.set_read_only("/proc", False)
        for path in self._to.scratch:
            syscalls.mount(
                "tmpfs", path, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777"
            )


def refuse(error: Exception) -> NoReturn:
    """Say why there is no container, and end."""
    what = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or str(error)
    about = f"{what}: {reason}" if what else reason
    os.write(2, f"ptyshipper: repro: can't set up the container: {about}\n".encode())
    os._exit(_CANNOT_ENTER)


def _map_user(uid: int, gid: int, outside: tuple[int, int]) -> None:
    """One id of each kind: more may be mapped by root alone (user_namespaces(7))."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outside[0]} 1"),
        ("gid_map", f"{gid} {outside[1]} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _mount_proc() -> None:
    """The new pid namespace's. A container of ours may not let us; then /proc would tell of others."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags)


def _give_up_terminal() -> None:
    """So that process 1 can take it. The kernel then signals the group in front: that is us."""
    if os.getsid(0) != os.getpid():
        return
    fcntl.ioctl(0, termios.TIOCNOTTY)
    while signal.sigtimedwait({signal.SIGHUP, signal.SIGCONT}, 0) is not None:
        pass


def _set_limit(which: int, soft: int, hard: int) -> None:
    """As low as it is wanted; no higher than this host lets us, which the table has said."""
    try:
        resource.setrlimit(which, (soft, hard))
    except (ValueError, OSError):
        most = resource.getrlimit(which)[1]
        resource.setrlimit(which, (_lower(soft, most), _lower(hard, most)))


def _lower(one: int, other: int) -> int:
    infinite = resource.RLIM_INFINITY
    return other if one == infinite else one if other == infinite else min(one, other)


def _look_after(pid: int, tell: Callable[[int], None]) -> NoReturn:
    """Hand signals on to process 1, and end as it ends. Every signal is blocked."""
    try:
        tell(pid)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for fd in range(3):
            put_null(fd)
        # An end of a pipe that we kept would hide from its other side that the program closed it. Which
        # there are can't be asked: /proc is the new namespace's by now, in which we are nobody.
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        while True:
            signo = signal.sigwaitinfo(_ALL).si_signo
            if signo != signal.SIGCHLD:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signo)
                continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                end_as(status)
    except BaseException:  # a second wrapper must not run on in here
        os._exit(_CANNOT_ENTER)


def end_as(status: int) -> NoReturn:
    """End as a waited-for process did: by its signal, or with its code."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code} & _ALL)
        os.kill(os.getpid(), -code)
        os._exit(128 - code)
    os._exit(code)


def can_isolate(surroundings: Surroundings) -> OSError | None:
    """Why this host does not let us; None where it does. Tried, in a process of its own, to the end."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        number = 0
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
            put_null(0)
            null = os.dup(0)
            for fd in (1, 2):
                os.dup2(null, fd)
            entry = Entry(surroundings, lambda pid: None)
            entry._isolate()
            entry._become()
        except OSError as error:
            number = error.errno or 1
        except BaseException:
            number = 1
        finally:
            os.write(write_end, bytes([number & 0xFF]))
            os._exit(0)
    os.close(write_end)
    told = os.read(read_end, 1)
    os.close(read_end)
    os.waitpid(pid, 0)
    if told == b"\0":
        return None
    number = told[0] if told else 1
    return OSError(number, os.strerror(number))
