"""The one loop: wait, read, record, write, relay signals, until the program has ended and all is out.

A turn has three steps in this order: everything readable is read and appended, the sink flushes, what
was read is written out. So nothing is shown that a ``kill -9`` of this process could still take from
the record.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic, monotonic_ns

from ptyshipper import records
from ptyshipper.child.program import ExitStatus, Program, Stopped
from ptyshipper.child.reaper import reap
from ptyshipper.child.signals import Arrived, Policy, SignalQueue, policy
from ptyshipper.child.terminal import Terminal, rows_cols
from ptyshipper.pump.flow import Flow, TerminalFlow
from ptyshipper.pump.job import Job
from ptyshipper.pump.keyboard import Keyboard
from ptyshipper.pump.outlet import Outlet
from ptyshipper.pump.pace import MAX_PIPE_NAP_US, MAX_PTY_NAP_US, Pace
from ptyshipper.pump.sink import RecordSink
from ptyshipper.records import Kind

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL
_SMALL_PIPE_BYTES = 16_384
_SMALL_PTY_BYTES = 2_048
"""A quarter of what a pipe holds (pipe(7)), a sixth of what a pty was measured to take."""
_STDERR = 2
_SHOWN_READS = 16
_CONDUIT_KINDS = {1: Kind.STDOUT, 2: Kind.STDERR}


class Pump:
    """Everything that goes on between the program and the world, from its start to its end.

    Args:
        drain_timeout_s: how long to go on reading after the program's end, where another process
            still holds its terminal or pipes.
        leads_session: whether this process leads its session: a hang-up then comes to us alone.
        ignored: signals that were ignored when this process began, and mean nothing to it.
        started_ns: the session's beginning on the monotonic clock.
    """

    def __init__(
        self,
        program: Program,
        terminal: Terminal | None,
        sink: RecordSink,
        signals: SignalQueue,
        *,
        drain_timeout_s: float,
        leads_session: bool,
        ignored: frozenset[int],
        started_ns: int,
    ) -> None:
        self._program = program
        self._terminal = terminal
        self._sink = sink
        self._signals = signals
        self._drain_timeout_s = drain_timeout_s
        self._leads_session = leads_session
        self._ignored = ignored
        self._started_ns = started_ns
        self._status: ExitStatus | None = None
        self._drain_ends_s = 0.0
        self._impatient = False
        self._poll = select.poll()
        self._rest = select.poll()
        self._masks: dict[int, int] = {}
        self._flows: list[Flow] = []
        self._flow_fds: set[int] = set()
        self._flows_readable: dict[int, int] = {}
        self._job = Job(program, None, _no_keyboard, self._show_all)
        self._keyboard: Keyboard | None = None
        self._taken_bytes = 0
        self._pace = (
            Pace(_SMALL_PTY_BYTES, MAX_PTY_NAP_US)
            if program.master_fd >= 0 or program.holds_slave
            else Pace(_SMALL_PIPE_BYTES, MAX_PIPE_NAP_US)
        )
        if terminal is not None and program.master_fd >= 0:
            outlet = Outlet(terminal.fd, terminal)
            self._flows.append(TerminalFlow(program.master_fd, outlet, terminal))
            self._keyboard = Keyboard(terminal, program.master_fd)
            self._job = Job(program, terminal, self._keyboard.put, self._show_all)
        for conduit in program.conduits:
            kind = _CONDUIT_KINDS[conduit.fd]
            self._flows.append(Flow(conduit.read_fd, kind, Outlet(conduit.fd)))

    def run(self) -> ExitStatus:
        """Pump until the program has ended and what it wrote is out. Returns how it ended.

        Raises nothing of its own: what fails on the way out is what the program gets to feel.
        """
        self._job.begin()
        self._watch()
        waiting_since_us = self.now_us()
        napped = False
        while not self._finished():
            # after an undisturbed nap there is something to read, as good as certain
            ready = self._flows_readable if napped else dict(self._poll.poll(self._timeout_ms()))
            napped = False
            now_us = self.now_us()
            if (
                self._move(ready, now_us)
                and ready.keys() <= self._flow_fds
                and not self._has_typed()
                and self._status is None
                and self._signals.poll_ms is None
            ):
                # bytes came and went, nothing else: the hot path
                nap_us = self._pace.nap_us(now_us - waiting_since_us, self._taken_bytes)
                if nap_us:
                    napped = not self._rest.poll(nap_us / 1000)
                waiting_since_us = self.now_us()
                continue
            if self._keyboard is not None:
                self._type(self._keyboard, ready)
            if self._signals.fd in ready or self._signals.poll_ms is not None:
                for arrived in self._signals.take():
                    self._handle(arrived)
            if self._program.report_fd in ready:
                for change in self._program.read_reports():
                    self._changed(change)
            self._watch()
            if self._status is not None:
                self._drain(ready)
        assert self._status is not None
        if self._impatient:
            self._leave_nothing_unrecorded()
        self._program.dismiss_monitor()
        status = self._status
        exited = records.exited(status.code, status.signal, status.core_dumped)
        self._sink.append(Kind.EXITED, self.now_us(), exited)
        self._sink.flush()
        return status

    def _has_typed(self) -> bool:
        return self._keyboard is not None and self._keyboard.has_queued

    def now_us(self) -> int:
        return (monotonic_ns() - self._started_ns) // 1000

    def _finished(self) -> bool:
        if self._status is None:
            return False
        if self._impatient:
            return True
        if self._drain_ends_s and monotonic() >= self._drain_ends_s:
            for flow in self._flows:
                flow.finish_reading(self._sink, self.now_us())
            self._sink.flush()
        return all(flow.ended for flow in self._flows)

    def _timeout_ms(self) -> float | None:
        if self._status is None:
            return self._signals.poll_ms
        if any(flow.owed_bytes > 0 and flow.wants_input for flow in self._flows):
            return 0  # whether anything is left is the question
        if not self._drain_ends_s or all(flow.read_fd < 0 for flow in self._flows):
            return self._signals.poll_ms
        # rounded up, or the last millisecond would be spent in a busy loop
        return max(0.0, self._drain_ends_s - monotonic()) * 1000 + 1

    def _drain(self, ready: dict[int, int]) -> None:
        """The program has ended. What it left in its pipes and ptys is taken however long a reader
        outside takes; only then begins the time for what others write to them."""
        for flow in self._flows:
            if flow.owed_bytes > 0 and flow.read_fd in self._masks and flow.read_fd not in ready:
                flow.owed_bytes = 0
        if not self._drain_ends_s and all(flow.owed_bytes <= 0 for flow in self._flows):
            self._drain_ends_s = monotonic() + self._drain_timeout_s

    def _leave_nothing_unrecorded(self) -> None:
        """Somebody wants us gone: what the program wrote is recorded and, where it goes at once,
        shown; the rest of the readers' patience is not waited for."""
        for flow in self._flows:
            flow.finish_reading(self._sink, self.now_us())
        self._sink.flush()
        for flow in self._flows:
            if flow.outlet is not None:
                flow.push()

    def _watch(self) -> None:
        """Tell poll what matters now; the kernel hears of it only where something has changed."""
        masks = {self._signals.fd: select.POLLIN}
        if self._program.report_fd >= 0:
            masks[self._program.report_fd] = select.POLLIN
        has_room = self._sink.has_room
        if not has_room:
            masks[self._sink.room_fd] = select.POLLIN
        for flow in self._flows:
            if has_room and flow.wants_input:
                masks[flow.read_fd] = select.POLLIN
            if flow.outlet is not None:
                mask = select.POLLOUT if flow.queued_bytes else 0
                masks[flow.outlet.poll_fd] = masks.get(flow.outlet.poll_fd, 0) | mask
        keyboard, terminal = self._keyboard, self._terminal
        if keyboard is not None and terminal is not None:
            if keyboard.wants_input:
                masks[terminal.fd] = masks.get(terminal.fd, 0) | select.POLLIN
            if keyboard.has_queued and self._program.master_fd >= 0:
                master_fd = self._program.master_fd
                masks[master_fd] = masks.get(master_fd, 0) | select.POLLOUT
        if masks == self._masks:
            return
        for fd in self._masks.keys() - masks.keys():
            self._poll.unregister(fd)
        for fd, mask in masks.items():
            self._poll.register(fd, mask)
        self._masks = masks
        self._flow_fds = {flow.read_fd for flow in self._flows if flow.read_fd in masks}
        self._flows_readable = dict.fromkeys(self._flow_fds, select.POLLIN)
        self._rest = select.poll()
        for fd, mask in masks.items():
            if fd not in self._flow_fds:
                self._rest.register(fd, mask)

    def _move(self, ready: dict[int, int], now_us: int) -> bool:
        """Read, flush, write; whether what to wait for has stayed the same."""
        self._taken_bytes = 0
        has_room = self._sink.has_room
        steady = has_room
        for flow in self._flows:
            if flow.read_fd in ready and has_room and flow.wants_input:
                self._taken_bytes += flow.read(self._sink, now_us)
                steady = steady and flow.read_fd >= 0
        self._sink.flush()
        for flow in self._flows:
            outlet = flow.outlet
            if outlet is None:
                continue
            waited = outlet.poll_fd in ready
            if (waited and ready[outlet.poll_fd] & _GONE) or (
                flow.queued_bytes and not flow.push()
            ):
                self._outlet_gone(flow)
                steady = False
            elif flow.ended:
                self._close_outlet(flow, outlet)
                steady = False
            elif flow.queued_bytes or waited:
                steady = False
        return steady

    def _close_outlet(self, flow: Flow, outlet: Outlet) -> None:
        """The program closed its end, and all is out: whoever reads outside hears of it now. Not on
        stderr, which is ours to warn on, too."""
        flow.outlet = None
        if not isinstance(flow, TerminalFlow) and outlet.fd != _STDERR:
            outlet.close()

    def _outlet_gone(self, flow: Flow) -> None:
        """Nobody reads outside any more. A pipe breaks for the program too; a terminal hangs up."""
        if isinstance(flow, TerminalFlow):
            self._hang_up()
            return
        outlet = flow.outlet
        flow.break_off(self._sink, self.now_us())
        if outlet is not None:
            outlet.close()

    def _type(self, keyboard: Keyboard, ready: dict[int, int]) -> None:
        terminal, master_fd = self._terminal, self._program.master_fd
        assert terminal is not None
        if master_fd < 0:
            return
        if keyboard.has_queued and ready.get(master_fd, 0) & select.POLLOUT:
            keyboard.push()
        if ready.get(terminal.fd, 0) & (select.POLLIN | _GONE) and keyboard.wants_input:
            keyboard.read()
            if keyboard.hung_up:
                self._hang_up()

    def _hang_up(self) -> None:
        """The terminal outside is gone: so is the program's. Of that the kernel tells the session's
        leader (SIGHUP): the program, or its monitor, which passes it on."""
        program, self._keyboard = self._program, None
        for flow in self._flows:
            if isinstance(flow, TerminalFlow):
                flow.break_off(self._sink, self.now_us())  # closes the master
                flow.outlet = None
        program.master_fd = -1
        if program.slave_fd >= 0:
            os.close(program.slave_fd)
            program.slave_fd = -1

    def _show_all(self) -> None:
        """What the program wrote before it stopped comes before the shell's prompt. Bounded: another
        may still write, and a reader outside may have stalled."""
        now_us = self.now_us()
        for flow in self._flows:
            for _ in range(_SHOWN_READS):
                if not flow.wants_input or not flow.read(self._sink, now_us):
                    break
                if flow.outlet is not None:
                    flow.push()
        self._sink.flush()

    def _changed(self, change: ExitStatus | Stopped) -> None:
        if isinstance(change, Stopped):
            self._job.stopped(change.signo)
            return
        self._status = change
        self._keyboard = None  # what is typed from now on is the shell's
        self._program.release_slaves()
        for flow in self._flows:
            flow.program_ended()

    def _handle(self, arrived: Arrived) -> None:
        """Do what the signal's row says (``child.signals.POLICIES``)."""
        kind = policy(arrived.signo)
        if kind == Policy.CHILD:
            for change in reap(self._program):
                self._changed(change)
        elif self._status is not None:
            # Its program is gone: whoever signals now wants us gone, whatever is still in the pipes.
            is_impatient = arrived.signo in IMPATIENCE and arrived.signo not in self._ignored
            self._impatient = self._impatient or is_impatient
        else:
            self._actions[kind](self, arrived)

    def _forward(self, arrived: Arrived) -> None:
        self._sink.append(Kind.SIGNALLED, self.now_us(), records.signalled(arrived.signo))
        self._program.send(arrived.signo)

    def _forward_typed(self, arrived: Arrived) -> None:
        if not arrived.by_kernel:
            self._forward(arrived)
        elif not self._program.shares_group:
            self._sink.append(Kind.SIGNALLED, self.now_us(), records.signalled(arrived.signo))
            self._program.send_to_group(arrived.signo)

    def _forward_hangup(self, arrived: Arrived) -> None:
        """The kernel's own tells of our terminal, and of the program's the kernel tells again."""
        if not arrived.by_kernel:
            self._forward(arrived)
        elif not self._program.shares_group:
            self._hang_up()
        elif self._leads_session:
            self._forward(arrived)

    def _forward_stop(self, arrived: Arrived) -> None:
        if not arrived.by_kernel:
            self._forward(arrived)
        elif not self._program.shares_group:
            self._program.send_to_group(arrived.signo)
        if self._program.shares_group:
            self._job.told_to_stop(arrived.signo, by_kernel=arrived.by_kernel)

    def _continue(self, arrived: Arrived) -> None:
        if not self._job.took_continue():
            self._forward(arrived)

    def _resize(self, arrived: Arrived) -> None:
        """Pass the size on. Where it is the same as before, the kernel is silent and we are not."""
        if self._terminal is None or self._program.master_fd < 0:
            self._forward(arrived)
            return
        winsize = self._terminal.winsize()
        signalled = self._program.set_winsize(winsize)
        rows, cols = rows_cols(winsize)
        if rows and cols:
            self._sink.append(Kind.RESIZED, self.now_us(), records.resized(cols, rows))
        if not signalled:
            if arrived.by_kernel:
                self._program.nudge_foreground()
            else:
                self._program.send(arrived.signo)

    _actions: dict[str, Callable[[Pump, Arrived], None]]


Pump._actions = {
    Policy.FORWARD: Pump._forward,
    Policy.TYPED: Pump._forward_typed,
    Policy.HANGUP: Pump._forward_hangup,
    Policy.STOP: Pump._forward_stop,
    Policy.CONTINUE: Pump._continue,
    Policy.WINDOW: Pump._resize,
}


def _no_keyboard(typed: bytes) -> None:
    """Nothing is typed where there is no terminal."""


IMPATIENCE = frozenset({1, 2, 3, 15})
"""SIGHUP, SIGINT, SIGQUIT, SIGTERM: after the program's end they mean that nobody waits any more."""
