"""The wrapper's process, put together: what is started in which order, and stopped in the reverse.

The order is the point of this file. The program runs before anything is loaded that it does not need;
threads begin after the fork; the terminal is restored before anyone waits for the network.
"""

from __future__ import annotations

import errno
import gc
import os
from time import monotonic_ns, time_ns

from ptyshipper.child.environment import conceal
from ptyshipper.child.program import ExitStatus, Program
from ptyshipper.child.reaper import reap, see_out
from ptyshipper.child.signals import Policy, Pristine, SignalQueue, policy
from ptyshipper.child.spawn import (
    Command,
    execute,
    execute_by_helper,
    failure_to_start,
    let_go,
    spawn,
)
from ptyshipper.child.stdio import NO_SIZE, StdioPlan, occupy_closed, plan
from ptyshipper.errors import SpawnError
from ptyshipper.light import TYPE_CHECKING
from ptyshipper.variables import PRIVATE_PREFIX, TTY_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from ptyshipper.child.environment import Environment
    from ptyshipper.child.terminal import Terminal
    from ptyshipper.config import AgentSettings, TtyMode
    from ptyshipper.pump.sink import RecordSink
    from ptyshipper.spool.recording import Recording
    from ptyshipper.spool.spool import Spool
    from ptyshipper.uplink.uplink import Uplink

_PRIVATE_PREFIX = PRIVATE_PREFIX.encode()
_NO_PROCESS = (errno.EAGAIN, errno.ENOMEM)
"""What fork(2) says where the limit of processes, or memory, allows no other."""

_LONG_WAIT_MS = 1_000
_FREE_DESCRIPTORS = 13
_COMMAND_BYTES = 8_192
"""Of a command as much is told as fits this, encoded; the whole description may take twice that."""


class Outcome:
    """What the wrapper's process ends with.

    ``session_id`` is None where there was no backend to ship to; ``delivered`` tells whether the
    backend has acknowledged everything.
    """

    def __init__(self, exit_code: int, session_id: bytes | None, delivered: bool) -> None:
        self.exit_code = exit_code
        self.session_id = session_id
        self.delivered = delivered


class Agent:
    """One run of one program.

    Args:
        argv: the program's own, argv[0] included.
        environment: as it was given; what is private is kept from the program.
        tty: the mode where a flag gave one; else the variable's, else ``auto``.
        load_settings: called once the program runs; may warn, may raise nothing.
        helper: see ``child.spawn.Command``.
        enter, enter_fds: what puts the program into a container of its own (see
            ``child.spawn.Command``), whose stdout and stderr are two in any case.
        announce_wait: called once where delivering takes long after the program's end, for a person.
        recording: a file that takes the session as well.

    Attributes:
        started_ns: where its records' times begin, on the monotonic clock.
    """

    def __init__(
        self,
        argv: list[bytes],
        environment: Environment,
        pristine: Pristine,
        tty: TtyMode | None,
        load_settings: Callable[[Callable[[str], None]], AgentSettings],
        announce_wait: Callable[[], None] | None = None,
        helper: bytes | None = None,
        recording: Recording | None = None,
        *,
        enter: Callable[[], None] | None = None,
        enter_fds: tuple[int, ...] = (),
    ) -> None:
        self._closed = occupy_closed()
        if helper is None:  # else this process's own environment holds nothing private
            conceal(_PRIVATE_PREFIX)
        self._command = Command(argv, environment.without(_PRIVATE_PREFIX), helper)
        self._command.enter, self._command.enter_fds = enter, enter_fds
        self._tty = tty or _tty_variable(environment)
        self._pristine = pristine
        self._load_settings = load_settings
        self._announce_wait = announce_wait
        self._recording = recording
        self._terminal: Terminal | None = None
        self._status: ExitStatus | None = None
        self._leads_session = os.getsid(0) == os.getpid()
        self.started_ns = monotonic_ns()
        self._started_wall_us = time_ns() // 1000
        self._session_id = os.urandom(16)

    def run(self) -> Outcome:
        """Run the program to its end. The terminal is as it was on every way out."""
        try:
            return self._run()
        finally:
            if self._terminal is not None:
                self._terminal.restore()

    def _run(self) -> Outcome:
        failure: SpawnError | None = None
        try:
            program, stdio = self._spawn()
        except SpawnError as error:
            failure, stdio = error, self._plan(self._tty)
        gc.enable()
        if failure is not None:
            return self._attend(failure, stdio)
        try:
            import select  # noqa: F401  # ``see_out`` may need it when nothing can be loaded any more

            let_go(stdio, self._terminal)
            return self._attend(program, stdio)
        except BaseException as error:
            # A bug of ours, or the tree that we run from is gone: the program must not pay for it.
            if self._terminal is not None:
                self._terminal.restore()
            self.warn(f"the wrapper failed: {error!r}; the program is not recorded any more")
            status = self._status or see_out(program)
            return Outcome(status.shell_status, None, False)

    def _attend(self, program: Program | SpawnError, stdio: StdioPlan) -> Outcome:
        """Record what the program does until its end, and deliver that."""
        from ptyshipper import records
        from ptyshipper.child.terminal import rows_cols

        self._signals = SignalQueue()
        self._signals.start()
        settings = self._load_settings(self.warn)
        sink, spool, uplink = self._begin_recording(settings, stdio)
        rows, cols = rows_cols(self._terminal.winsize() if self._terminal else NO_SIZE)
        started = records.started(self._started_wall_us, cols, rows, stdio.tty_mask)
        sink.append(records.Kind.STARTED, 0, started)
        sink.flush()
        if isinstance(program, SpawnError):
            status = self._record_failure(program, sink)
        else:
            status = self._pump_to_the_end(program, sink, settings)
        self._status = status
        if self._terminal is not None:
            self._terminal.restore()
        if self._recording is not None:
            self._recording.close()  # before anybody waits for the network: it may be read now
        delivered = self._deliver(uplink)
        if spool is not None:
            spool.close()
        session_id = self._session_id if uplink is not None else None
        return Outcome(status.shell_status, session_id, delivered)

    def warn(self, message: str) -> None:
        """One line on stderr; from whichever thread has something to say."""
        import select

        raw = self._terminal is not None and self._terminal.is_raw and os.isatty(2)
        line = f"ptyshipper: {message}{chr(13) if raw else ''}\n".encode(errors="backslashreplace")
        ready = select.poll()
        ready.register(2, select.POLLOUT)
        try:
            if ready.poll(0):  # a reader of stderr that has stalled must not stall us, or signals
                os.write(2, line[: select.PIPE_BUF])
        except OSError:
            pass  # nobody is left to be warned

    def _spawn(self) -> tuple[Program, StdioPlan]:
        """Start the program as planned, or on plain pipes where no pty can be had."""
        stdio = self._plan(self._tty)
        if not _has_free_descriptors():
            self._become_program(os.strerror(errno.EMFILE))
        try:
            if stdio.has_terminal:
                from ptyshipper.child.terminal import outer_terminal

                self._terminal = outer_terminal(stdio)
            return spawn(self._command, stdio, self._terminal, self._pristine), stdio
        except SpawnError:
            raise
        except Exception as error:  # OSError, or termios.error, which is none
            self._terminal = None
            if error.args[0] in _NO_PROCESS:
                self._become_program(error.args[-1])
            self.warn(f"no pseudo-terminal can be had ({error.args[-1]}); the program gets pipes")
        stdio = self._plan("never")
        try:
            return spawn(self._command, stdio, None, self._pristine), stdio
        except OSError as error:
            self._become_program(error.strerror)

    def _plan(self, tty: TtyMode) -> StdioPlan:
        return plan(tty, self._closed, merges=self._command.enter is None)

    def _become_program(self, reason: object) -> NoReturn:
        """There can't be a second process, or no pipe to it: so the program is the only one, as bare.

        Raises:
            SpawnError: it can't be executed.
        """
        self.warn(f"can't start a process ({reason}); the program runs without the wrapper")
        for fd in self._closed:
            os.close(fd)
        if self._command.enter is not None:
            self._command.enter()
        self._pristine.restore()
        if self._command.helper is not None and not self._command.environment.is_plain:
            try:
                execute_by_helper(self._command, self._command.helper, os.pipe()[1])
            except OSError:
                pass  # no descriptor is left: what os.execve can hand on must do
        raise failure_to_start(self._command.argv[0], execute(self._command))

    def _begin_recording(
        self, settings: AgentSettings, stdio: StdioPlan
    ) -> tuple[RecordSink, Spool | None, Uplink | None]:
        """Begin the recording, open the spool, start the uplink. Whatever fails there, the program runs
        on without."""
        from ptyshipper.pump.sink import NoSink, TwoSinks

        recording = self._recording
        if settings.uplink is None and recording is None:
            return NoSink(), None, None
        sink: RecordSink = NoSink()
        spool: Spool | None = None
        uplink: Uplink | None = None
        try:
            tty = bool(stdio.tty_mask & 0b10)
            description = describe(self._command.argv, settings, self._started_wall_us, tty=tty)
            if recording is not None:
                from ptyshipper.surroundings import surroundings

                variables = self._command.environment.variables
                about = surroundings(self._command.argv, variables, self._tty, stdio.outside)
                recording.begin(self._session_id, description, about, self.warn)
                sink = recording
            if settings.uplink is not None:
                from ptyshipper.spool.spool import Spool
                from ptyshipper.uplink.uplink import Uplink

                spool = Spool.open(settings.spool, self._session_id, description, self.warn)
                uplink = Uplink(settings.uplink, spool, settings.spool, self.warn)
                uplink.start()
                sink = spool if recording is None else TwoSinks(spool, recording)
        except Exception as error:  # no threads, no memory, a bug: none of it is the program's
            what = "nothing is recorded" if recording is None else "not all is recorded"
            self.warn(f"{what}: {error!r}; the program is not affected")
            return sink, None, None
        return sink, spool, uplink

    def _pump_to_the_end(
        self, program: Program, sink: RecordSink, settings: AgentSettings
    ) -> ExitStatus:
        from ptyshipper.pump.loop import Pump

        return Pump(
            program,
            self._terminal,
            sink,
            self._signals,
            drain_timeout_s=settings.drain_timeout_s,
            leads_session=self._leads_session,
            ignored=self._pristine.ignored,
            started_ns=self.started_ns,
        ).run()

    def _record_failure(self, failure: SpawnError, sink: RecordSink) -> ExitStatus:
        """Say why the program could not be started, here and to the backend's readers."""
        from ptyshipper import records

        self.warn(str(failure))
        now_us = (monotonic_ns() - self.started_ns) // 1000
        line = f"ptyshipper: {failure}\n".encode(errors="backslashreplace")
        sink.append(records.Kind.STDERR, now_us, line[: records.MAX_PAYLOAD_BYTES])
        sink.append(records.Kind.EXITED, now_us, records.exited(failure.exit_code, 0, False))
        sink.flush()
        return ExitStatus(failure.exit_code)

    def _deliver(self, uplink: Uplink | None) -> bool:
        """Wait until the backend has everything, the uplink gives up, or somebody is impatient."""
        import select

        from ptyshipper.pump.loop import IMPATIENCE

        if uplink is None:
            return False
        uplink.finish()
        waiting = select.poll()
        waiting.register(uplink.done_fd, select.POLLIN)
        waiting.register(self._signals.fd, select.POLLIN)
        gone = Program(0, shares_group=True)
        while True:
            wait_ms = _LONG_WAIT_MS if self._announce_wait else self._signals.poll_ms
            ready = dict(waiting.poll(wait_ms))
            if uplink.done_fd in ready:
                return uplink.delivered
            if self._announce_wait and not ready:
                self._announce_wait()
                self._announce_wait = None
            for arrived in self._signals.take():
                if policy(arrived.signo) == Policy.CHILD:
                    for _ in reap(gone):
                        pass
                elif arrived.signo in IMPATIENCE and arrived.signo not in self._pristine.ignored:
                    return uplink.delivered


def _has_free_descriptors() -> bool:
    """Whether there are enough for pipes, a spool, a connection, and a library that either thread loads
    meanwhile. Found out now, since a program that has been started can't be left alone any more."""
    taken: list[int] = []
    try:
        while len(taken) < _FREE_DESCRIPTORS:
            taken.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        for fd in taken:
            os.close(fd)
    return True


def _tty_variable(environment: Environment) -> TtyMode:
    """The mode that the variable gives. One that can't be read is warned of with the other settings."""
    match environment.variables.get(TTY_VARIABLE.encode(), b"").lower():
        case b"always":
            return "always"
        case b"never":
            return "never"
        case _:
            return "auto"


def describe(
    argv: Sequence[bytes], settings: AgentSettings, started_at_us: int, *, tty: bool
) -> dict[str, object]:
    """The session's description, as HELLO carries it (PROTOCOL.md section 4).

    A command that would not fit is cut; it is there to be recognised, not to be run again.
    """
    import json

    from ptyshipper import __version__

    command: list[str] = []
    left_bytes = _COMMAND_BYTES
    for word in argv:
        text = word.decode(errors="backslashreplace")[:left_bytes]
        while len(json.dumps(text)) > left_bytes:
            text = text[: len(text) // 2]
        command.append(text)
        left_bytes -= len(json.dumps(text)) + 1
        if left_bytes < 2:
            break
    return {
        "deployment_id": settings.deployment_id,
        "type": settings.log_type,
        "hostname": os.uname().nodename,
        "command": command,
        "tty": tty,
        "started_at_us": started_at_us,
        "client": f"ptyshipper/{__version__}",
    }
