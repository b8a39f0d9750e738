"""Delivers one session: the shell around ``core``, with the spool's reader and a connection.

One thread runs it, and sleeps in one epoll: on the socket, on the spool's eventfd, on a control
eventfd. The eventfds are edge-triggered, so that nothing has to be read from them.
"""

from __future__ import annotations

import random
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, assert_never

from ptyshipper.config import UplinkSettings
from ptyshipper.errors import ProtocolError
from ptyshipper.spool.ledger import NEVER, Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.uplink import commands, core, events
from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.connection import Connection
from ptyshipper.uplink.control import Control
from ptyshipper.uplink.outcomes import Trouble, of_trouble
from ptyshipper.uplink.stream import ConnectionFailed, Dialer
from ptyshipper.wire import messages


def _nothing_more(offset: int) -> None:
    """All that there is lies before the head."""


class Consignment(NamedTuple):
    """The session to deliver. ``data_fd`` is readable when its head moved; -1 if that can't be.

    ``notes`` are for who posts its lines. ``take_up`` is called with a WELCOME's offset that is beyond
    the head, to move the head if more is held behind that.
    """

    session_id: bytes
    description: dict[str, Any]
    ledger: Ledger
    data_fd: int
    plan: core.Plan
    notes: Notes
    take_up: Callable[[int], None] = _nothing_more


class _AttemptOver(Exception):
    """The core gave the attempt up while it was waiting for the network."""


class Courier:
    """``run`` in a thread; ``finish`` from any other; the rest can be read by all.

    ``gives_way``: it ended because the backend speaks no WebSocket and is to get posts. ``on_first_ack``
    is called in the courier's thread once the backend proved good.

    Raises:
        ValueError: the session's description is too long to be sent.
    """

    def __init__(
        self,
        consignment: Consignment,
        dialer: Dialer,
        settings: UplinkSettings,
        limit: AttemptLimit,
        warn: Callable[[str], None],
        on_first_ack: Callable[[], None],
    ) -> None:
        self.delivered = False
        self.gives_way = False
        self._hello = messages.hello(consignment.session_id, consignment.description)
        self._ledger = consignment.ledger
        self._reader = SpoolReader(consignment.ledger)
        self._data_fd = consignment.data_fd
        self._take_up = consignment.take_up
        self._dialer = dialer
        self._settings = settings
        self._warn = warn
        self._on_first_ack = on_first_ack
        self._has_acked = False
        self._core = core.Core(consignment.plan, Backoff(random.random), limit, time.monotonic())
        self._events: deque[events.Event] = deque()
        self._is_handling = False
        self._is_finished = False
        self._connect_wanted = False
        self._connection: Connection | None = None
        self._waits_to_write = False
        self._batch_sent: events.BatchSent | None = None  # while its last bytes are not flushed
        self._epoll = select.epoll()
        # The same without the socket, for naps. What the one has told the other may tell again.
        self._nap_epoll = select.epoll()
        self._control = Control()
        for fd in (self._control.fd, self._data_fd):
            if fd >= 0:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)
                self._nap_epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def finish(self, deadline_s: float) -> None:
        """The last record is committed: deliver until the monotonic ``deadline_s``, then end."""
        self._control.finish(deadline_s)

    def run(self) -> None:
        """Deliver until everything was acknowledged, or there is no use in going on."""
        try:
            self._handle(events.DataCommitted(self._ledger.head.offset))
            self._handle(events.Ticked())
            while not self._is_finished:
                if self._connect_wanted:
                    self._connect_wanted = False
                    self._connect()
                else:
                    self._turn()
        finally:
            self._disconnect()
            self._ledger.wake_at_offset = NEVER
            self._reader.close()
            self._epoll.close()
            self._nap_epoll.close()
            self._control.close()

    def _turn(self) -> None:
        """Wait for one thing to happen, and handle it."""
        # First say from where on to be woken, then look: the writer does it the other way round.
        self._ledger.wake_at_offset = self._core.wake_at_offset
        head_offset = self._ledger.head.offset
        if head_offset >= self._core.wake_at_offset:
            self._handle(events.DataCommitted(head_offset))
            return
        nap_s = self._core.nap_until_s - time.monotonic()
        if nap_s > 0:
            ready = self._nap_epoll.poll(nap_s)
            self._handle(events.DataCommitted(self._ledger.head.offset))
            if self._connection is not None:
                self._on_network(self._connection)
        else:
            ready = self._poll(self._core.timer_s)
        self._ledger.wake_at_offset = NEVER
        for fd, _ in ready:
            if fd == self._control.fd:
                self._on_control()
            elif fd == self._data_fd:
                self._handle(events.DataCommitted(self._ledger.head.offset))
            elif self._connection is not None and fd == self._connection.fileno():
                self._on_network(self._connection)
        if not ready or time.monotonic() >= self._core.timer_s:
            self._handle(events.Ticked())

    def _poll(self, until_s: float) -> list[tuple[int, int]]:
        if until_s == core.FOREVER_S:
            return self._epoll.poll()
        return self._epoll.poll(max(0.0, until_s - time.monotonic()))

    def _on_control(self) -> None:
        if self._control.deadline_s is not None:
            self._handle(events.DataCommitted(self._ledger.head.offset))
            self._handle(events.FinishRequested(self._control.deadline_s))

    def _on_network(self, connection: Connection) -> None:
        if not connection.is_flushed:
            connection.flush()
            self._after_send(connection)
        for message in connection.receive():
            if connection is self._connection:  # else the message before it ended that
                self._on_message(message)
        if connection.ended is not None and connection is self._connection:
            self._handle(events.Closed(connection.ended))

    def _on_message(self, message: bytes) -> None:
        try:
            answer = messages.read_backend_message(message)
        except ProtocolError:
            self._handle(events.Closed(of_trouble(Trouble.BROKEN_PROTOCOL)))
            return
        match answer:
            case messages.Ack():
                self._handle(events.AckReceived(answer.offset))
                if not self._has_acked:
                    self._has_acked = True
                    self._on_first_ack()
            case messages.Welcome():
                if answer.offset > self._ledger.head.offset:
                    self._take_up(answer.offset)
                self._handle(events.DataCommitted(self._ledger.head.offset))
                self._handle(events.WelcomeReceived(answer.offset, answer.window_bytes))
            case _:
                assert_never(answer)

    def _handle(self, event: events.Event) -> None:
        """Give the event to the core, and carry out what it answers, until there is nothing more."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        while self._events:
            for command in self._core.handle(self._events.popleft(), time.monotonic()):
                self._carry_out(command)
        self._is_handling = False

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.SendBatch():
                self._send_batch(command.offset)
            case commands.Release():
                self._reader.release(command.offset, time.monotonic())
            case commands.SendHeartbeat():
                self._send(messages.batch(command.offset, b""))
            case commands.SendHello():
                self._send(self._hello)
            case commands.SendBye():
                self._send(messages.bye(command.reason))
            case commands.Connect():
                self._connect_wanted = True
            case commands.Disconnect():
                self._disconnect()
            case commands.Warn():
                self._warn(command.text)
            case commands.FallBack():
                self.gives_way = True
                self._is_finished = True
            case commands.Finish():
                self.delivered = command.delivered
                self._is_finished = True
            case _:
                assert_never(command)

    def _send_batch(self, offset: int) -> None:
        batch = self._reader.read(offset)
        self._batch_sent = events.BatchSent(
            batch.next_offset, len(batch.records), batch.record_count
        )
        self._send(messages.batch(offset, batch.records))

    def _send(self, message: bytes) -> None:
        if self._connection is not None:
            self._connection.send(message)
            self._after_send(self._connection)

    def _after_send(self, connection: Connection) -> None:
        if connection.is_flushed and self._batch_sent is not None:
            event, self._batch_sent = self._batch_sent, None
            self._handle(event)
        if connection.is_flushed == self._waits_to_write:
            self._waits_to_write = not connection.is_flushed
            writing = select.EPOLLOUT if self._waits_to_write else 0
            self._epoll.modify(connection.fileno(), select.EPOLLIN | writing)

    def _connect(self) -> None:
        connection = Connection(self._dialer, self._settings.token)
        try:
            connection.open(self._wait)
        except ConnectionFailed as failure:
            connection.close()
            self._handle(events.Closed(failure.outcome))
        except _AttemptOver:
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            self._connection = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            self._handle(events.Connected())
            # What came together with the answer to the upgrade does not make the socket readable.
            self._on_network(connection)

    def _wait(self, fd: int, for_writing: bool, share: float) -> None:
        """See ``stream.Wait``; the core's timer and a finish are served meanwhile."""
        until_s = time.monotonic() + share * core.CONNECT_TIMEOUT_S
        self._epoll.register(fd, select.EPOLLOUT if for_writing else select.EPOLLIN)
        try:
            while True:
                ready = [ready_fd for ready_fd, _ in self._poll(min(until_s, self._core.timer_s))]
                # First the one that tells of itself only once.
                if self._control.fd in ready:
                    self._on_control()
                now_s = time.monotonic()
                if now_s >= self._core.timer_s:
                    self._handle(events.Ticked())
                if self._core.state is not core.State.CONNECTING:
                    raise _AttemptOver
                if fd in ready:
                    return
                if now_s >= until_s:
                    raise TimeoutError
        finally:
            self._epoll.unregister(fd)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._batch_sent = None
        self._waits_to_write = False
        if connection is not None:
            self._epoll.unregister(connection.fileno())
            connection.close()
