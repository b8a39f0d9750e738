"""What to send, when, and what to do after a failure: events and the time in, commands out.

No I/O and no clock: ``courier`` carries the commands out and tells what happened. One ``Core``
delivers one session, over as many connections as it takes.

=============  ===================================================================
state          leaves it on
=============  ===================================================================
WAITING        its timer -> CONNECTING
CONNECTING     Connected -> GREETING; Closed, timer (10 s) -> WAITING
GREETING       WelcomeReceived -> STREAMING; Closed, timer (10 s) -> WAITING
STREAMING      Closed, timer (15 s of silence) -> WAITING
ENDED          nothing
=============  ===================================================================

From every state but ENDED: an outcome that is final, everything delivered where that is the end,
the deadline after a FinishRequested, or an answer that asks for posts -> ENDED.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import assert_never

from ptyshipper.spool.ledger import NEVER
from ptyshipper.uplink.attempts import CONNECT_TIMEOUT_S, FOREVER_S, Attempts
from ptyshipper.uplink.commands import (
    Command,
    Connect,
    Disconnect,
    Finish,
    GiveWay,
    Release,
    SendBatch,
    SendBye,
    SendHeartbeat,
    SendHello,
)
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.events import (
    AckReceived,
    BatchSent,
    Closed,
    Connected,
    DataCommitted,
    Event,
    FinishRequested,
    Ticked,
    WelcomeReceived,
)
from ptyshipper.uplink.outcomes import Action, Outcome, Trouble, of_trouble
from ptyshipper.uplink.pace import Pace
from ptyshipper.wire.messages import MAX_BATCH_BYTES, ByeReason

WELCOME_TIMEOUT_S = 10.0
SILENCE_TIMEOUT_S = 15.0
HEARTBEAT_S = 20.0


class State(Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    GREETING = "greeting"
    STREAMING = "streaming"
    ENDED = "ended"


class Core:
    """The state machine. After each ``handle``:

    - carry out the commands in order; each that asks for an answer gets it as the next event;
    - call ``handle(Ticked(), now)`` when ``timer_s`` is reached;
    - call ``handle(DataCommitted(...), now)`` when the spool's head is at ``wake_at_offset`` or beyond;
    - leave what the network brings unread until ``nap_until_s``, and call so then as well.
    """

    def __init__(self, plan: Plan, attempts: Attempts, now_s: float) -> None:
        self.state = State.WAITING
        self.wake_at_offset = NEVER
        self.nap_until_s = 0.0
        self._plan = plan
        self._attempts = attempts
        self._committed = 0
        self._acked = 0
        # WAITING, CONNECTING and GREETING end at this time, if nothing else ends them.
        self._state_until_s = now_s
        self._begin_stream(0, 0, now_s)

    def _begin_stream(self, offset: int, window_bytes: int, now_s: float) -> None:
        self._sent = offset
        self._window_bytes = min(window_bytes, self._plan.window_bytes)
        self._in_flight: deque[tuple[int, int]] = deque()  # end offset, size
        self._in_flight_bytes = 0
        self._batch_is_out = False  # a SendBatch waits for its BatchSent
        self._sent_s = self._heard_s = now_s
        self._unanswered_since_s = FOREVER_S
        self._pace = Pace(now_s, self._plan.spare_bytes)
        self._nap_ends_at_bytes = 0

    @property
    def timer_s(self) -> float:
        """When to call with Ticked."""
        if self.state is not State.STREAMING:
            return min(self._state_until_s, self._attempts.deadline_s)
        heartbeat_s = FOREVER_S if self._batch_is_out else self._sent_s + HEARTBEAT_S
        return min(heartbeat_s, self._silence_until_s(), self._attempts.deadline_s)

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take an event in; ``now_s`` is monotonic."""
        if self.state is State.ENDED:
            return []
        match event:
            case AckReceived():
                return self._on_ack(event.offset, now_s)
            case DataCommitted():
                self._committed = event.offset
                return self._send(now_s)
            case BatchSent():
                return self._on_batch_sent(event, now_s)
            case Ticked():
                return self._on_tick(now_s)
            case WelcomeReceived():
                return self._on_welcome(event, now_s)
            case Connected():
                if self.state is not State.CONNECTING:
                    return []
                self.state = State.GREETING
                self._state_until_s = now_s + WELCOME_TIMEOUT_S
                return [SendHello()]
            case Closed():
                return self._on_closed(event.outcome, now_s)
            case FinishRequested():
                return self._on_finish_requested(event.deadline_s, now_s)
            case _:
                assert_never(event)

    def _on_welcome(self, event: WelcomeReceived, now_s: float) -> list[Command]:
        if self.state is not State.GREETING:
            return self._fail(of_trouble(Trouble.BROKEN_PROTOCOL), now_s)
        if event.offset > self._committed:
            if self._plan.live:
                return self._fail(of_trouble(Trouble.AHEAD), now_s)
            # Its wrapper delivered more than it could leave behind: the courier found nothing there.
            return self._end_delivered()
        self.state = State.STREAMING
        self._attempts.is_proven = True
        self._acked = event.offset
        self._begin_stream(event.offset, event.window_bytes, now_s)
        if self._is_complete():
            return self._end_delivered()
        return [Release(event.offset), *self._send(now_s)]

    def _on_ack(self, offset: int, now_s: float) -> list[Command]:
        if self.state is not State.STREAMING or offset > self._sent:
            return self._fail(of_trouble(Trouble.BROKEN_PROTOCOL), now_s)
        self._heard_s = now_s
        self._attempts.succeed()
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= offset:
            self._in_flight_bytes -= in_flight.popleft()[1]
        if not in_flight and not self._batch_is_out:
            self._unanswered_since_s = FOREVER_S
        if offset <= self._acked:
            return self._send(now_s)
        self._acked = offset
        if self._is_complete():
            return self._end_delivered()
        return [Release(offset), *self._send(now_s)]

    def _on_batch_sent(self, event: BatchSent, now_s: float) -> list[Command]:
        if not self._batch_is_out:
            return []
        self._batch_is_out = False
        self._sent = event.next_offset
        self._in_flight.append((event.next_offset, event.size_bytes))
        self._in_flight_bytes += event.size_bytes
        nap = self._pace.nap(event.record_count, event.size_bytes, self._committed, now_s)
        self.nap_until_s = now_s + nap.length_s
        self._nap_ends_at_bytes = nap.ends_at_bytes
        return self._send(now_s)

    def _on_tick(self, now_s: float) -> list[Command]:
        if now_s >= self._attempts.deadline_s:
            return self._end_late()
        match self.state:
            case State.WAITING:
                self._state_until_s = self._attempts.earliest_s(self._state_until_s, now_s)
                if now_s < self._state_until_s:
                    return []
                self.state = State.CONNECTING
                self._state_until_s = now_s + CONNECT_TIMEOUT_S
                self._attempts.note(now_s)
                return [Connect()]
            case State.CONNECTING if now_s >= self._state_until_s:
                return self._fail(of_trouble(Trouble.TIMED_OUT), now_s)
            case State.GREETING if now_s >= self._state_until_s:
                return self._fail(of_trouble(Trouble.NO_WELCOME), now_s)
            case State.STREAMING:
                if now_s >= self._silence_until_s():
                    return self._fail(of_trouble(Trouble.SILENT), now_s)
                if now_s >= self._sent_s + HEARTBEAT_S and not self._batch_is_out:
                    self._owe(now_s)
                    return [SendHeartbeat(self._sent)]
                return self._send(now_s)
            case _:
                return []

    def _on_closed(self, outcome: Outcome, now_s: float) -> list[Command]:
        if self.state is State.WAITING:
            return []
        return self._fail(outcome, now_s)

    def _on_finish_requested(self, deadline_s: float, now_s: float) -> list[Command]:
        self._attempts.finish(deadline_s)
        self.nap_until_s = 0.0
        if self.state is State.STREAMING:
            return self._end_delivered() if self._is_complete() else self._send(now_s)
        if self.state is State.WAITING:
            again_s = self._attempts.hurry(self._state_until_s, now_s)
            if again_s is None:
                return self._end(delivered=False)
            self._state_until_s = again_s
            if again_s >= deadline_s:
                return self._end_late()
        return []

    def _send(self, now_s: float) -> list[Command]:
        """Send what may be sent now, or note what to wait for."""
        self.wake_at_offset = NEVER
        if self.state is not State.STREAMING or self._batch_is_out:
            return []
        available = self._committed - self._sent
        is_napping = now_s < self.nap_until_s and not self._attempts.is_ending
        if available <= 0:
            # in a nap the first record to come is no reason to wake: more are to gather
            self.wake_at_offset = self._sent + (self._nap_ends_at_bytes if is_napping else 1)
            return []
        is_small = available < MAX_BATCH_BYTES
        if self._in_flight:
            if self._in_flight_bytes + MAX_BATCH_BYTES > self._window_bytes:
                return []  # an ACK opens the window again
            if is_small:
                self.wake_at_offset = self._sent + MAX_BATCH_BYTES
                return []
        if is_napping and available < self._nap_ends_at_bytes:
            self.wake_at_offset = self._sent + self._nap_ends_at_bytes
            return []
        self._batch_is_out = True
        self._owe(now_s)
        return [SendBatch(self._sent)]

    def _owe(self, now_s: float) -> None:
        """Something goes out that the backend must answer."""
        self._sent_s = now_s
        self._unanswered_since_s = min(self._unanswered_since_s, now_s)

    def _silence_until_s(self) -> float:
        """When the backend has owed us an answer for too long."""
        return max(self._heard_s, self._unanswered_since_s) + SILENCE_TIMEOUT_S

    def _is_complete(self) -> bool:
        return self._attempts.is_ending and self._acked >= self._committed

    def _fail(self, outcome: Outcome, now_s: float) -> list[Command]:
        """Give the connection or the attempt up, and decide when to try again."""
        if outcome.action is Action.FALLBACK and self._plan.may_post:
            self._end(delivered=False)
            return [Disconnect(), GiveWay()]
        self.wake_at_offset = NEVER
        self.nap_until_s = 0.0
        warnings, again_s = self._attempts.fail(outcome, now_s)
        if again_s is None:
            return [Disconnect(), *warnings, *self._end(delivered=False)]
        self.state = State.WAITING
        self._state_until_s = again_s
        late = self._end_late() if again_s >= self._attempts.deadline_s else []
        return [Disconnect(), *warnings, *late]

    def _end(self, delivered: bool) -> list[Command]:
        self.state = State.ENDED
        self.wake_at_offset = NEVER
        self.nap_until_s = 0.0
        self._state_until_s = self._attempts.deadline_s = FOREVER_S
        return [Finish(delivered)]

    def _end_delivered(self) -> list[Command]:
        return [Release(self._acked), SendBye(self._plan.bye), *self._end(delivered=True)]

    def _end_late(self) -> list[Command]:
        commands: list[Command] = []
        if self.state is State.STREAMING and not self._batch_is_out:
            commands.append(SendBye(ByeReason.LEAVING))
        commands += self._attempts.late(self._committed - self._acked)
        return commands + self._end(delivered=False)
