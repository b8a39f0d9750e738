"""The shell around a core that delivers one session: it waits, tells the core, carries out its commands.

One thread runs it, and sleeps in one epoll: on the network while that is waited for, on the spool's
eventfd, on a control eventfd. The eventfds are edge-triggered, so that nothing has to be read from them.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from ptyshipper.spool.ledger import NEVER
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.uplink.attempts import CONNECT_TIMEOUT_S, FOREVER_S
from ptyshipper.uplink.consignment import Consignment
from ptyshipper.uplink.control import Control
from ptyshipper.uplink.events import DataCommitted, FinishRequested, Ticked

Event = TypeVar("Event")
Command = TypeVar("Command")
_Event = TypeVar("_Event", contravariant=True)
_Command = TypeVar("_Command", covariant=True)
_Common = DataCommitted | FinishRequested | Ticked


class _Core(Protocol[_Event, _Command]):
    """Decides; ``timer_s`` is when it wants to be told that so much time has passed."""

    @property
    def timer_s(self) -> float: ...
    def handle(self, event: _Event, now_s: float) -> Sequence[_Command]: ...


class AttemptOver(Exception):
    """The core gave the attempt up while it was waiting for the network."""


class Delivery(Generic[Event, Command]):
    """``run`` in a thread; ``finish`` from any other; the rest can be read by all.

    ``delivered``: all of the session was taken. ``gives_way``: it ended because the backend is to be
    served the other way. What is sent and received, and how, the two kinds of it say for themselves in
    ``_turn`` and ``_carry_out``. Whoever begins an attempt clears ``_is_attempt_over``, and who is told
    to give it up sets it.
    """

    def __init__(self, consignment: Consignment, core: _Core[Event | _Common, Command]) -> None:
        self.delivered = False
        self.gives_way = False
        self._ledger = consignment.ledger
        self._data_fd = consignment.data_fd
        self._reader = SpoolReader(consignment.ledger)
        self._core: _Core[Event | _Common, Command] = core
        self._events: deque[Event | _Common] = deque()
        self._is_handling = False
        self._is_finished = False
        self._is_attempt_over = False
        self._epoll = select.epoll()
        self._control = Control()
        self._watch(self._epoll)

    def finish(self, deadline_s: float) -> None:
        """The last record is committed: deliver until the monotonic ``deadline_s``, then end."""
        self._control.finish(deadline_s)

    def run(self) -> None:
        """Deliver until everything was taken, or there is no use in going on."""
        try:
            self._handle(DataCommitted(self._ledger.head.offset))
            self._handle(Ticked())  # the first attempt is made though the end may be there already
            while not self._is_finished:
                self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        """Do what is to be done, or wait for one thing to happen and handle it."""
        raise NotImplementedError

    def _carry_out(self, command: Command) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        self._ledger.wake_at_offset = NEVER
        self._reader.close()
        self._epoll.close()
        self._control.close()

    def _watch(self, epoll: select.epoll) -> None:
        """Let ``epoll`` tell of what comes from other threads."""
        for fd in (self._control.fd, self._data_fd):
            if fd >= 0:
                epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def _handle(self, event: Event | _Common) -> None:
        """Give the event to the core, and carry out what it answers, until there is nothing more."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        while self._events:
            for command in self._core.handle(self._events.popleft(), time.monotonic()):
                self._carry_out(command)
        self._is_handling = False

    def _on_control(self) -> None:
        if self._control.deadline_s is not None:
            self._handle(DataCommitted(self._ledger.head.offset))
            self._handle(FinishRequested(self._control.deadline_s))

    def _poll(self, until_s: float) -> list[int]:
        """The descriptors that have something to tell, as soon as one has."""
        if until_s == FOREVER_S:
            ready = self._epoll.poll()
        else:
            ready = self._epoll.poll(max(0.0, until_s - time.monotonic()))
        return [fd for fd, _ in ready]

    def _wait(self, fd: int, for_writing: bool, share: float) -> None:
        """See ``stream.Wait``; the core's timer and a finish are served meanwhile.

        Raises:
            AttemptOver: the core has given the attempt up.
        """
        until_s = time.monotonic() + share * CONNECT_TIMEOUT_S
        self._epoll.register(fd, select.EPOLLOUT if for_writing else select.EPOLLIN)
        try:
            while True:
                ready = self._poll(min(until_s, self._core.timer_s))
                # First the one that tells of itself only once.
                if self._control.fd in ready:
                    self._on_control()
                now_s = time.monotonic()
                if now_s >= self._core.timer_s:
                    self._handle(Ticked())
                if self._is_attempt_over or self._is_finished:
                    raise AttemptOver
                if fd in ready:
                    return
                if now_s >= until_s:
                    raise TimeoutError
        finally:
            # Who gives an attempt up closes what it has opened, and then it is registered no more.
            if not self._is_attempt_over:
                self._epoll.unregister(fd)
