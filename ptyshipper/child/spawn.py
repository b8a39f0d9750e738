"""Start the program: before any thread exists, before any module is loaded that it does not need.

Three shapes, from what stands outside:

- no terminal: fork and exec. The program stays in our process group and session, so that what a
  shell's ^C or ``kill 0`` reaches, and what /dev/tty is, are as they were.
- a terminal, and we lead our session (a container): the program leads the session of its pty.
- a terminal, and we are somebody's job: a monitor leads it (see ``monitor``).
"""

from __future__ import annotations

import errno
import os
import sys

from ptyshipper.child import monitor
from ptyshipper.child.program import REPORT_BYTES, Conduit, Program, reports_in
from ptyshipper.child.signals import Pristine
from ptyshipper.child.stdio import NO_SIZE, Become, StdioPlan, put_null
from ptyshipper.errors import SpawnError
from ptyshipper.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ptyshipper.child.environment import Environment
    from ptyshipper.child.terminal import Terminal

_FAILURE_BYTES = 4
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_PTY_ROWS, _PTY_COLS = 24, 80


class Command:
    """What to run: ``argv`` and ``environment`` as the program is to get them.

    ``helper`` is the bundle's own program that execs with any environment, None where there is none:
    what ``os.execve`` can't hand on (two of a name, no name, no value) is then left out.

    ``enter`` is called in the program's process, before its exec and with every signal blocked, and puts
    it into surroundings that are not ours; it may use the descriptors in ``enter_fds``.
    """

    def __init__(
        self, argv: list[bytes], environment: Environment, helper: bytes | None = None
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.helper = helper
        self.enter: Callable[[], None] | None = None
        self.enter_fds: tuple[int, ...] = ()


def inherited_fds() -> list[int]:
    """The descriptors above 2 that the program is to inherit: those that survive an exec now.

    Every descriptor that Python opens is close-on-exec (PEP 446), so whatever is not was there before.
    """
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(fd) for fd in range(256)]
    fds = []
    for fd in map(int, names):
        try:
            if fd > 2 and os.get_inheritable(fd):
                fds.append(fd)
        except OSError:
            pass  # the listing's own descriptor, closed by now
    return sorted(fds)


def spawn(
    command: Command,
    stdio: StdioPlan,
    terminal: Terminal | None,
    pristine: Pristine,
) -> Program:
    """Start the program. Returns once it runs; signals stay blocked throughout.

    Raises:
        SpawnError: it could not be executed; exit code 127 where it was not found, else 126.
        OSError: no process, pipe or pty could be had.
    """
    start = _Start(command, stdio, terminal, pristine)
    try:
        program = start.with_terminal(terminal) if terminal else start.without_terminal()
        try:
            start.raise_failure()
        except SpawnError:
            program.dismiss_monitor()
            raise
    finally:
        start.close()
    return program


class _Start:
    """The descriptors that live from before the fork until the exec."""

    def __init__(
        self, command: Command, stdio: StdioPlan, terminal: Terminal | None, pristine: Pristine
    ) -> None:
        self._command = command
        self._stdio = stdio
        self._pristine = pristine
        self._winsize = terminal.winsize() if terminal else NO_SIZE
        self._attributes = terminal.attributes if terminal else None
        self._inherited = inherited_fds()
        self._temporary: list[int] = []
        self._failure_read, self._failure_write = self._pipe()
        self._targets: dict[int, int] = {}
        self._conduits: list[Conduit] = []
        for fd, become in enumerate(stdio.become):
            self._prepare(fd, become)

    def _pipe(self) -> tuple[int, int]:
        read_end, write_end = os.pipe()
        self._temporary += [read_end, write_end]
        return read_end, write_end

    def _prepare(self, fd: int, become: str) -> None:
        """Make what the program gets on ``fd``; kept above 2, since a pty's slave lands on 0 to 2."""
        if become == Become.INHERITED:
            self._targets[fd] = os.dup(fd)
            self._temporary.append(self._targets[fd])
        elif become == Become.PIPE:
            read_end, write_end = self._pipe()
            self._temporary.remove(read_end)
            os.set_blocking(read_end, False)
            self._targets[fd] = write_end
            self._conduits.append(Conduit(fd, read_end, -1))
        elif become == Become.PTY:
            master, slave = os.openpty()
            _make_plain(slave, self._winsize)
            os.set_blocking(master, False)
            self._targets[fd] = slave
            self._conduits.append(Conduit(fd, master, slave))
        elif become == Become.SAME_AS_STDOUT:
            self._targets[fd] = self._targets[1]

    def without_terminal(self) -> Program:
        # posix_spawn(3) would be a millisecond faster, but glibc's leaves the two signals that it uses
        # itself (32, 33) ignored in the program.
        pid = os.fork()
        if pid == 0:
            self._become_program()
        return Program(pid, conduits=tuple(self._conduits), shares_group=True)

    def with_terminal(self, terminal: Terminal) -> Program:
        if os.getsid(0) == os.getpid():
            pid, master = self._fork_pty(self._become_program_on_pty)
            program = Program(
                pid, master_fd=master, conduits=tuple(self._conduits), shares_group=False
            )
        else:
            program = self._under_monitor(
                in_foreground=terminal.in_foreground() and not self._stdio.shares_job
            )
        program.hold_slave()
        return program

    def _under_monitor(self, *, in_foreground: bool) -> Program:
        report_read, report_write = self._pipe()

        def be_monitor() -> NoReturn:
            self._set_up_slave()
            monitor.lead(self._become_program, report_write, in_foreground=in_foreground)

        monitor_pid, master = self._fork_pty(be_monitor)
        self.close_one(report_write)
        told = os.read(report_read, REPORT_BYTES)
        if len(told) < REPORT_BYTES:
            raise OSError(errno.EAGAIN, "the program's session could not be set up")
        self._temporary.remove(report_read)
        ((_, pid),) = reports_in(told)
        return Program(
            pid,
            master_fd=master,
            conduits=tuple(self._conduits),
            shares_group=False,
            monitor_pid=monitor_pid,
            report_fd=report_read,
            begins_behind=not in_foreground,
        )

    def _fork_pty(self, run: Callable[[], NoReturn]) -> tuple[int, int]:
        """Run ``run`` as the leader of a new session on a new pty. Returns its pid and the master.

        ptyprocess's own exec is never reached, and so what it would do wrong is not done: it puts the
        resolved path into argv[0] and leaves SIGPIPE and SIGXFSZ ignored.
        """
        from ptyprocess import PtyProcess  # 7 ms that a program on pipes need not pay

        class Pty(PtyProcess):  # type: ignore[misc]
            def setwinsize(self, rows: int, cols: int) -> None:
                """Nothing: it would come after the exec, and take the pixel sizes away."""

        def guarded() -> NoReturn:
            try:
                run()
            except BaseException as error:  # a second wrapper must not run on in the child
                os.write(2, f"ptyshipper: the program's session failed: {error}\n".encode())
            finally:
                os._exit(_NOT_EXECUTABLE)

        pty = Pty.spawn(
            ["/proc/self/exe"],
            preexec_fn=guarded,
            dimensions=(_PTY_ROWS, _PTY_COLS),
            pass_fds=(
                *self._inherited,
                *self._temporary,
                *self._targets.values(),
                *self._command.enter_fds,
            ),
        )
        pty.closed = True  # else its finaliser would close the master and kill the program
        _KEPT.append(pty)
        os.set_blocking(pty.fd, False)
        os.set_inheritable(pty.fd, False)
        return pty.pid, pty.fd

    def _set_up_slave(self) -> None:
        """The outer terminal's modes and size, before the program can look."""
        import termios

        from ptyshipper.child.terminal import write_winsize

        if self._attributes is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._attributes)
        write_winsize(0, self._winsize)

    def _become_program_on_pty(self) -> NoReturn:
        self._set_up_slave()
        self._become_program()

    def _become_program(self) -> NoReturn:
        """In the child: put every descriptor and signal in its place, and exec."""
        try:
            for fd, target in self._targets.items():
                os.dup2(target, fd)
            for fd, become in enumerate(self._stdio.become):
                if become == Become.CLOSED:
                    os.close(fd)
            if self._command.enter is not None:
                self._command.enter()
            self._pristine.restore()
            if self._command.helper is not None and not self._command.environment.is_plain:
                execute_by_helper(self._command, self._command.helper, self._failure_write)
            failure = execute(self._command)
            self._tell_failure(failure)
        except BaseException:  # whatever it was, a second wrapper must not run on in the child
            self._tell_failure(errno.EIO)
        finally:
            os._exit(_NOT_EXECUTABLE)

    def _tell_failure(self, error_number: int) -> None:
        os.write(self._failure_write, error_number.to_bytes(_FAILURE_BYTES, sys.byteorder))

    def raise_failure(self) -> None:
        """Wait for the exec, which closes the failure pipe, or for word of its failure."""
        self.close_one(self._failure_write)
        told = os.read(self._failure_read, _FAILURE_BYTES)
        if told:
            for conduit in self._conduits:
                os.close(conduit.read_fd)
            error_number = int.from_bytes(told, sys.byteorder)
            raise failure_to_start(self._command.argv[0], error_number)

    def close_one(self, fd: int) -> None:
        self._temporary.remove(fd)
        os.close(fd)

    def close(self) -> None:
        for fd in self._temporary:
            os.close(fd)
        self._temporary.clear()


_KEPT: list[object] = []
"""ptyprocess closes a master when its object goes; these live as long as we do."""


def _make_plain(slave: int, winsize: bytes) -> None:
    """A terminal whose output is the program's bytes, and that repeats no input."""
    import termios

    from ptyshipper.child.terminal import write_winsize

    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~(termios.ECHO | termios.ECHONL)
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    if winsize == NO_SIZE:
        rows_and_cols = memoryview(bytearray(8)).cast("H")
        rows_and_cols[0], rows_and_cols[1] = _PTY_ROWS, _PTY_COLS
        winsize = bytes(rows_and_cols)
    write_winsize(slave, winsize)


def execute(command: Command) -> int:
    """Exec the command, searching PATH as execvp(3) does; the error number where that fails.

    argv[0] stays as it was given. No shell is tried for a text without ``#!``: container runtimes
    try none either. A name that is found but may not be executed is remembered over one not found.
    """
    variables = command.environment.variables
    failure = errno.ENOENT
    for candidate in _candidates(command):
        try:
            os.execve(candidate, command.argv, variables)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error.errno or errno.EIO
            elif os.path.exists(candidate):
                failure = errno.ELIBBAD  # it is there, so its interpreter or loader is not
        except ValueError:
            failure = errno.EINVAL
    return failure


def execute_by_helper(command: Command, helper: bytes, failure_fd: int) -> None:
    """Exec the command with an environment that ``os.execve`` can't express, by way of ``helper``.

    That one reads the environment from a descriptor, and tells a failure through ``failure_fd``.
    Returns where there is nothing to run, or no helper: ``execute`` then says what is wrong.
    """
    for candidate in _candidates(command):
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            break
    else:
        return
    try:
        environment_fd = _to_be_read(command.environment.block)
    except OSError:
        return
    try:
        for fd in (environment_fd, failure_fd):
            os.set_inheritable(fd, True)
        numbers = (b"%d" % environment_fd, b"%d" % failure_fd)
        os.execve(helper, [b"exec-program", *numbers, candidate, *command.argv], {})
    except (OSError, ValueError):
        os.set_inheritable(failure_fd, False)
        os.close(environment_fd)


def _to_be_read(data: bytes) -> int:
    """A descriptor from which ``data`` can be read: a file in memory, or else a pipe that holds it.

    The limit of a file's size holds in memory too. Beyond it a write is cut short, or kills us.

    Raises:
        OSError: the pipe is too small for it.
    """
    import fcntl
    import resource
    import select

    limit_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit_bytes == resource.RLIM_INFINITY or len(data) <= limit_bytes:
        try:
            memory = os.memfd_create("environment")
            os.write(memory, data)
            return memory
        except OSError:
            pass  # a sandbox may refuse it
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, max(len(data), select.PIPE_BUF))
    except OSError:
        pass  # it may be large enough as it is
    written = os.write(write_end, data)
    os.close(write_end)
    if written < len(data):
        os.close(read_end)
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return read_end


def _candidates(command: Command) -> list[bytes]:
    """The paths at which the command may be found, as execvp(3) has it."""
    name = command.argv[0]
    if not name or b"/" in name:
        return [name] if name else []
    path = command.environment.variables.get(b"PATH", os.fsencode(os.defpath))
    return [os.path.join(folder or b".", name) for folder in path.split(b":")]


def failure_to_start(name: bytes, error_number: int) -> SpawnError:
    """The one line that a person reads, and a shell's exit code for it."""
    shown = name.decode(errors="backslashreplace")
    if error_number == errno.ENOENT:
        reason = "no such file" if "/" in shown else "command not found"
        return SpawnError("exec", error_number, f"{shown}: {reason}", _NOT_FOUND)
    if error_number == errno.ELIBBAD:
        reason = "its interpreter or loader is missing"
    else:
        reason = os.strerror(error_number)
    return SpawnError(
        "exec", error_number, f"{shown}: can't be executed: {reason}", _NOT_EXECUTABLE
    )


def let_go(stdio: StdioPlan, terminal: Terminal | None) -> None:
    """Give up what is the program's alone now: its stdin and every descriptor above 2.

    An end that we kept would hide from its other side that the program closed its own.
    """
    for fd in inherited_fds():
        os.close(fd)
    if stdio.become[0] == Become.INHERITED and not (terminal and terminal.fd == 0):
        put_null(0)
    sys.stdin = None
