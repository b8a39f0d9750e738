"""Delivers one session in posts: the shell around ``core``, with the spool's reader and an ``exchange``.

One thread runs it. While a post is out it sleeps on the socket, else on the spool's eventfd, and on the
control eventfd always.
"""

from __future__ import annotations

import _thread
import random
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import assert_never

from ptyshipper.config import UplinkSettings
from ptyshipper.records import Kind, decode, read_gap
from ptyshipper.spool.ledger import NEVER
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.control import Control
from ptyshipper.uplink.core import CONNECT_TIMEOUT_S
from ptyshipper.uplink.courier import Consignment
from ptyshipper.uplink.posting import core, post
from ptyshipper.uplink.posting import progress as progresses
from ptyshipper.uplink.posting.exchange import Exchange
from ptyshipper.uplink.posting.lines import MAX_SPAN_BYTES, NEVER_US, LineAssembler
from ptyshipper.uplink.stream import ConnectionFailed, Dialer

TURN_WITHIN_S = 1.0
"""How long another session's post is waited for. A live view reads the newest 500 rows at a time, so two
posts at once would hide some; but one that hangs must not hold up the other session."""


class _AttemptOver(Exception):
    """The core gave the attempt up while it was waiting for the network."""


class Poster:
    """``run`` in a thread; ``finish`` from any other; the rest can be read by all.

    ``gives_way``: it ended because the backend speaks WebSocket by now. ``on_first_taken`` is called in
    this thread once the backend proved good. ``turn`` is shared by all posters of a process.

    Raises:
        ValueError: the session has no deployment, so it can't be posted.
    """

    def __init__(
        self,
        consignment: Consignment,
        dialer: Dialer,
        settings: UplinkSettings,
        limit: AttemptLimit,
        turn: _thread.LockType,
        warn: Callable[[str], None],
        on_first_taken: Callable[[], None],
    ) -> None:
        self.delivered = False
        self.gives_way = False
        self._envelope = post.Envelope(consignment.description)
        self._ledger = consignment.ledger
        self._notes = consignment.notes
        self._data_fd = consignment.data_fd
        self._dialer = dialer
        self._settings = settings
        self._turn = turn
        self._warn = warn
        self._on_first_taken = on_first_taken
        self._has_taken = False
        self._reader = SpoolReader(self._ledger)
        self._exchange = Exchange(dialer, settings.token)
        # What another way delivered, or an earlier poster whose note was lost, is not there any more.
        done_offset = max(self._ledger.acked_offset, self._ledger.first_offset())
        progress = progresses.decode(self._notes.read()).at_least(done_offset)
        plan = consignment.plan
        self._lines = LineAssembler(
            progress,
            colours=settings.colours == "keep",
            max_span_bytes=min(MAX_SPAN_BYTES, plan.window_bytes // 2),
        )
        may_change = plan.live and settings.transport == "auto"
        now_s = time.monotonic()
        self._core = core.Core(
            core.Plan(plan.live, plan.max_failures, plan.name, may_change),
            progress,
            post.Stamps(self._envelope.started_ms, progress.last_ms),
            Backoff(random.random),
            limit,
            now_s,
        )
        self._read_offset = progress.offset
        self._to_the_end = False
        self._source = self._entries()
        self._ready: list[post.Entry] = []  # for the next post
        self._ready_bytes = 0
        self._spare: post.Entry | None = None  # it did not fit that any more
        self._began_us: int | None = None  # the session's beginning, on the monotonic clock
        self._events: deque[core.Event] = deque()
        self._is_handling = False
        self._is_finished = False
        self._wanted: core.Post | core.AskForWebSocket | None = None
        self._is_over = False  # the attempt that is under way
        self._epoll = select.epoll()
        self._control = Control()
        for fd in (self._control.fd, self._data_fd):
            if fd >= 0:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        self._reader.release(progress.offset, now_s)

    def finish(self, deadline_s: float) -> None:
        """The last record is committed: deliver until the monotonic ``deadline_s``, then end."""
        self._control.finish(deadline_s)

    def run(self) -> None:
        """Post until everything was taken, or there is no use in going on."""
        try:
            self._handle(core.Woken(self._ledger.head.offset))
            while not self._is_finished:
                wanted, self._wanted = self._wanted, None
                if isinstance(wanted, core.Post):
                    self._post(wanted)
                elif wanted is not None:
                    self._ask_for_websocket()
                else:
                    self._sleep()
        finally:
            self._exchange.close()
            self._ledger.wake_at_offset = NEVER
            self._reader.close()
            self._epoll.close()
            self._control.close()

    def _sleep(self) -> None:
        """Wait for one thing to happen, and handle it."""
        until_s = min(self._core.timer_s, self._exchange.close_at_s)
        if self._core.may_wake:
            # First say from where on to be woken, then look: the writer does it the other way round.
            self._ledger.wake_at_offset = self._read_offset + 1
            if self._has_more() or time.monotonic() >= self._due_s():
                self._ledger.wake_at_offset = NEVER
                self._handle(core.Woken(self._ledger.head.offset))
                return
            until_s = min(until_s, self._due_s())
        ready = self._poll(until_s)
        self._ledger.wake_at_offset = NEVER
        for fd, _ in ready:
            if fd == self._control.fd:
                self._on_control()
        now_s = time.monotonic()
        if now_s >= self._exchange.close_at_s:
            self._exchange.close()
        if now_s >= self._core.timer_s:
            self._handle(core.Ticked())

    def _has_more(self) -> bool:
        is_ready = bool(self._ready) or self._spare is not None
        return is_ready or self._ledger.head.offset > self._read_offset

    def _poll(self, until_s: float) -> list[tuple[int, int]]:
        if until_s == core.FOREVER_S:
            return self._epoll.poll()
        return self._epoll.poll(max(0.0, until_s - time.monotonic()))

    def _on_control(self) -> None:
        if self._control.deadline_s is not None:
            self._handle(core.Woken(self._ledger.head.offset))
            self._handle(core.FinishRequested(self._control.deadline_s))

    def _handle(self, event: core.Event) -> None:
        """Give the event to the core, and carry out what it answers, until there is nothing more."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        while self._events:
            for command in self._core.handle(self._events.popleft(), time.monotonic()):
                self._carry_out(command)
        self._is_handling = False

    def _carry_out(self, command: core.Command) -> None:
        match command:
            case core.Gather():
                self._to_the_end = command.to_the_end
                self._events.append(self._gather())
            case core.Post() | core.AskForWebSocket():
                self._wanted = command
            case core.Settle():
                self._notes.write(command.progress.encode())
                self._reader.release(command.progress.offset, time.monotonic())
            case core.Disconnect():
                self._is_over = True
                self._wanted = None
                self._exchange.close()
            case core.Warn():
                self._warn(command.text)
            case core.Finish():
                self.delivered, self.gives_way = command.delivered, command.changes
                self._is_finished = True
            case _:
                assert_never(command)

    def _gather(self) -> core.Gathered:
        """What the next post takes of what can be read by now."""
        self._fill()
        entries, self._ready, self._ready_bytes = tuple(self._ready), [], 0
        is_full = self._spare is not None
        return core.Gathered(entries, is_full, self._lines.settled_offset, self._lines.terminals)

    def _fill(self) -> None:
        """Get the next post ready."""
        entry, self._spare = self._spare or next(self._source), None
        while entry is not None:
            if not post.fits(len(self._ready), self._ready_bytes, entry, self._envelope.room_bytes):
                self._spare = entry
                return
            self._ready.append(entry)
            self._ready_bytes += entry.size_bytes
            entry = next(self._source)

    def _entries(self) -> Iterator[post.Entry | None]:
        """The session's lines from here on, without an end; None where there is nothing yet."""
        while True:
            batch = self._reader.read(self._read_offset)
            if not batch.records:
                for line in self._lines.flush_silent(self._now_us()):
                    yield from self._envelope.entries(line)
                if self._to_the_end:
                    for line in self._lines.finish():
                        yield from self._envelope.entries(line)
                yield None
                continue
            now_us = time.monotonic_ns() // 1000
            offset = self._read_offset
            self._read_offset = batch.next_offset
            for record in decode(batch.records):
                if self._began_us is None or now_us - record.time_us < self._began_us:
                    self._began_us = now_us - record.time_us
                for line in self._lines.feed(record, offset):
                    yield from self._envelope.entries(line)
                is_gap = record.kind == Kind.GAP
                offset += read_gap(record.payload).span if is_gap else record.size

    def _now_us(self) -> int:
        """The session's time: as far from a record's as it is since that was read, or a little less."""
        if self._began_us is None:
            return 0
        return time.monotonic_ns() // 1000 - self._began_us

    def _due_s(self) -> float:
        """When what was begun has waited for long enough."""
        due_us = self._lines.due_us
        if due_us >= NEVER_US or self._began_us is None:
            return core.FOREVER_S
        return (due_us + self._began_us) / 1e6

    def _post(self, command: core.Post) -> None:
        body = self._envelope.body(command.entries, command.stamps_ms)
        self._is_over = False
        has_turn = self._turn.acquire(True, TURN_WITHIN_S)
        try:
            answer = self._exchange.post(body, self._wait)
        except ConnectionFailed as failure:
            self._handle(core.Failed(failure.outcome))
            return
        except _AttemptOver:
            return
        finally:
            if has_turn:
                self._turn.release()
        self._handle(core.Answered(*answer))
        if 200 <= answer.status < 300 and not self._has_taken:
            self._has_taken = True
            self._on_first_taken()

    def _ask_for_websocket(self) -> None:
        """Whether an upgrade would be granted by now; the courier makes its own."""
        from ptyshipper.uplink.connection import Connection

        self._is_over = False
        connection = Connection(self._dialer, self._settings.token)
        try:
            connection.open(self._wait)
        except ConnectionFailed:
            self._handle(core.WebSocketAsked(False))
        except _AttemptOver:
            pass
        else:
            self._handle(core.WebSocketAsked(True))
        finally:
            connection.close()

    def _wait(self, fd: int, for_writing: bool, share: float) -> None:
        """See ``stream.Wait``; the core's timer and a finish are served meanwhile."""
        until_s = time.monotonic() + share * CONNECT_TIMEOUT_S
        if not for_writing:
            self._fill()  # while the backend is at work
        self._epoll.register(fd, select.EPOLLOUT if for_writing else select.EPOLLIN)
        try:
            while True:
                ready = [ready_fd for ready_fd, _ in self._poll(min(until_s, self._core.timer_s))]
                # First the one that tells of itself only once.
                if self._control.fd in ready:
                    self._on_control()
                now_s = time.monotonic()
                if now_s >= self._core.timer_s:
                    self._handle(core.Ticked())
                if self._is_over:
                    raise _AttemptOver
                if fd in ready:
                    return
                if now_s >= until_s:
                    raise TimeoutError
        finally:
            self._epoll.unregister(fd)
