"""Delivers one session over a WebSocket: what ``core`` decides, with spool and connection."""

from __future__ import annotations

import random
import select
import time
from collections.abc import Callable
from typing import assert_never

from ptyshipper.config import UplinkSettings
from ptyshipper.errors import ProtocolError
from ptyshipper.spool.ledger import NEVER
from ptyshipper.uplink import commands, core, events
from ptyshipper.uplink.attempts import Attempts
from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.connection import Connection
from ptyshipper.uplink.consignment import Consignment
from ptyshipper.uplink.delivery import AttemptOver, Delivery
from ptyshipper.uplink.outcomes import Trouble, of_trouble
from ptyshipper.uplink.stream import ConnectionFailed, Dialer
from ptyshipper.wire import messages


class Courier(Delivery[events.Event, commands.Command]):
    """See ``Delivery``. It gives way to posts where the backend speaks no WebSocket. ``on_first_ack`` is
    called in its thread once the backend proved good.

    Raises:
        ValueError: the session's description is too long to be sent.
    """

    _core: core.Core

    def __init__(
        self,
        consignment: Consignment,
        dialer: Dialer,
        settings: UplinkSettings,
        limit: AttemptLimit,
        warn: Callable[[str], None],
        on_first_ack: Callable[[], None],
    ) -> None:
        self._hello = messages.hello(consignment.session_id, consignment.description)
        plan = consignment.plan
        attempts = Attempts(plan, Backoff(random.random), limit)
        super().__init__(consignment, core.Core(plan, attempts, time.monotonic()))
        self._take_up = consignment.take_up
        self._dialer = dialer
        self._token = settings.token
        self._warn = warn
        self._on_first_ack = on_first_ack
        self._has_acked = False
        self._connect_wanted = False
        self._connection: Connection | None = None
        self._waits_to_write = False
        self._batch_sent: events.BatchSent | None = None  # while its last bytes are not flushed
        # The same as the other without the socket, for naps. What one has told, the other may tell again.
        self._nap_epoll = select.epoll()
        self._watch(self._nap_epoll)

    def _close(self) -> None:
        self._disconnect()
        self._nap_epoll.close()
        super()._close()

    def _turn(self) -> None:
        if self._connect_wanted:
            self._connect_wanted = False
            self._connect()
            return
        # First say from where on to be woken, then look: the writer does it the other way round.
        self._ledger.wake_at_offset = self._core.wake_at_offset
        head_offset = self._ledger.head.offset
        if head_offset >= self._core.wake_at_offset:
            self._handle(events.DataCommitted(head_offset))
            return
        nap_s = self._core.nap_until_s - time.monotonic()
        if nap_s > 0:
            ready = [fd for fd, _ in self._nap_epoll.poll(nap_s)]
            self._handle(events.DataCommitted(self._ledger.head.offset))
            if self._connection is not None:
                self._on_network(self._connection)
        else:
            ready = self._poll(self._core.timer_s)
        self._ledger.wake_at_offset = NEVER
        for fd in ready:
            if fd == self._control.fd:
                self._on_control()
            elif fd == self._data_fd:
                self._handle(events.DataCommitted(self._ledger.head.offset))
            elif self._connection is not None and fd == self._connection.fileno():
                self._on_network(self._connection)
        if not ready or time.monotonic() >= self._core.timer_s:
            self._handle(events.Ticked())

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
                self._is_attempt_over = True
                self._disconnect()
            case commands.Warn():
                self._warn(command.text)
            case commands.GiveWay():
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
        self._is_attempt_over = False
        connection = Connection(self._dialer, self._token)
        try:
            connection.open(self._wait)
        except ConnectionFailed as failure:
            connection.close()
            self._handle(events.Closed(failure.outcome))
        except AttemptOver:
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

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._batch_sent = None
        self._waits_to_write = False
        if connection is not None:
            self._epoll.unregister(connection.fileno())
            connection.close()
