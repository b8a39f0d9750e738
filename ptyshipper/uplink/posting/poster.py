"""Delivers one session in posts: what ``core`` decides, with a gatherer on one side and an exchange on
the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import assert_never

from ptyshipper.config import UplinkSettings
from ptyshipper.spool.ledger import NEVER
from ptyshipper.uplink.attempts import Attempts
from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.consignment import Consignment
from ptyshipper.uplink.delivery import AttemptOver, Delivery
from ptyshipper.uplink.posting import commands, core, events, post
from ptyshipper.uplink.posting import progress as progresses
from ptyshipper.uplink.posting.exchange import Exchange
from ptyshipper.uplink.posting.gatherer import Gatherer
from ptyshipper.uplink.posting.lines import MAX_SPAN_BYTES, LineAssembler
from ptyshipper.uplink.stream import ConnectionFailed, Dialer
from ptyshipper.uplink.turn import Turn

TURN_WITHIN_S = 1.0
"""How long another session's post is waited for. A live view reads the newest 500 rows at a time, so two
posts at once would hide some; but one that hangs must not hold up the other session."""


class Poster(Delivery[events.Event, commands.Command]):
    """See ``Delivery``. It gives way where the backend speaks WebSocket by now. ``on_first_taken`` is
    called in its thread once the backend proved good. ``turn`` is shared by all posters of a process.

    Raises:
        ValueError: the session has no deployment, so it can't be posted.
    """

    _core: core.Core

    def __init__(
        self,
        consignment: Consignment,
        dialer: Dialer,
        settings: UplinkSettings,
        limit: AttemptLimit,
        turn: Turn,
        warn: Callable[[str], None],
        on_first_taken: Callable[[], None],
    ) -> None:
        self._envelope = post.Envelope(consignment.description)
        self._notes = consignment.notes
        ledger, plan = consignment.ledger, consignment.plan
        # What another way delivered, or an earlier poster whose note was lost, is not there any more.
        done_offset = max(ledger.acked_offset, ledger.first_offset())
        progress = progresses.decode(self._notes.read()).at_least(done_offset)
        may_change = settings.transport == "auto"
        now_s = time.monotonic()
        stamps = post.Stamps(self._envelope.started_ms, progress.last_ms)
        attempts = Attempts(plan, Backoff(random.random), limit)
        super().__init__(
            consignment, core.Core(plan, attempts, progress, stamps, now_s, may_change=may_change)
        )
        lines = LineAssembler(
            progress,
            colours=settings.colours == "keep",
            max_span_bytes=min(MAX_SPAN_BYTES, plan.window_bytes // 2),
        )
        self._gatherer = Gatherer(self._reader, lines, self._envelope, progress.offset)
        self._dialer = dialer
        self._token = settings.token
        self._exchange = Exchange(dialer, settings.token)
        self._post_turn = turn
        self._warn = warn
        self._on_first_taken = on_first_taken
        self._has_taken = False
        self._wanted: commands.Post | commands.AskForWebSocket | None = None
        self._reader.release(progress.offset, now_s)

    def _close(self) -> None:
        self._exchange.close()
        super()._close()

    def _turn(self) -> None:
        wanted, self._wanted = self._wanted, None
        if isinstance(wanted, commands.Post):
            self._post(wanted)
        elif wanted is not None:
            self._ask_for_websocket()
        else:
            self._sleep()

    def _sleep(self) -> None:
        """Wait for one thing to happen, and handle it."""
        until_s = min(self._core.timer_s, self._exchange.close_at_s)
        if self._core.may_wake:
            # First say from where on to be woken, then look: the writer does it the other way round.
            self._ledger.wake_at_offset = self._gatherer.read_offset + 1
            # What was made ready ahead is none of that: it was taken before this came to sleep.
            has_more = self._ledger.head.offset > self._gatherer.read_offset
            if has_more or time.monotonic() >= self._gatherer.due_s:
                self._ledger.wake_at_offset = NEVER
                self._handle(events.DataCommitted(self._ledger.head.offset))
                return
            until_s = min(until_s, self._gatherer.due_s)
        ready = self._poll(until_s)
        self._ledger.wake_at_offset = NEVER
        if self._control.fd in ready:
            self._on_control()
        now_s = time.monotonic()
        if now_s >= self._exchange.close_at_s:
            self._exchange.close()
        if now_s >= self._core.timer_s:
            self._handle(events.Ticked())

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.Gather():
                self._handle(self._gatherer.take(to_the_end=command.to_the_end))
            case commands.Post() | commands.AskForWebSocket():
                self._wanted = command
            case commands.Settle():
                self._notes.write(command.progress.encode())
                self._reader.release(command.progress.offset, time.monotonic())
            case commands.Disconnect():
                self._is_attempt_over = True
                self._exchange.close()
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

    def _post(self, command: commands.Post) -> None:
        body = self._envelope.body(command.entries, command.stamps_ms)
        self._is_attempt_over = False
        has_turn = self._post_turn.take(TURN_WITHIN_S)
        try:
            answer = self._exchange.post(body, self._wait)
        except ConnectionFailed as failure:
            self._handle(events.Closed(failure.outcome))
            return
        except AttemptOver:
            return
        finally:
            if has_turn:
                self._post_turn.give_back()
        self._handle(events.Answered(*answer))
        if 200 <= answer.status < 300 and not self._has_taken:
            self._has_taken = True
            self._on_first_taken()

    def _ask_for_websocket(self) -> None:
        """Whether an upgrade would be granted by now; the courier makes its own."""
        # Not before it is needed: where the setting says posts, all of websockets stays out.
        from ptyshipper.uplink.connection import Connection

        self._is_attempt_over = False
        connection = Connection(self._dialer, self._token)
        try:
            connection.open(self._wait)
        except ConnectionFailed:
            self._handle(events.WebSocketAsked(False))
        except AttemptOver:
            pass
        else:
            self._handle(events.WebSocketAsked(True))
        finally:
            connection.close()

    def _wait(self, fd: int, for_writing: bool, share: float) -> None:
        if not for_writing:
            self._gatherer.fill()  # while the backend is at work
        super()._wait(fd, for_writing, share)
