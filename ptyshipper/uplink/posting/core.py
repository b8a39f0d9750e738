"""What to post, when, and whom to blame for a refusal: events and the time in, commands out.

No I/O and no clock. One ``Core`` delivers one session, one post in flight.

=============  ==============================================================================
state          leaves it on
=============  ==============================================================================
GATHERING      Gathered -> POSTING; where there was nothing, PROBING once, else IDLE
IDLE           DataCommitted -> GATHERING; its timer -> ASKING
POSTING        Answered, Closed, timer (30 s) -> GATHERING, NAPPING, PAUSING, PROBING or POSTING
PROBING        Answered, Closed, timer (30 s) -> POSTING, GATHERING or PAUSING
NAPPING        its timer -> GATHERING
PAUSING        its timer -> POSTING, GATHERING or ASKING
ASKING         WebSocketAsked, timer (10 s) -> POSTING or GATHERING; or ENDED where there is one
ENDED          nothing
=============  ==============================================================================

An empty post asks whether the backend takes posts of ours. A session that has nothing to post at its start
begins with one: those before it are waiting for the answer, and whoever set it up for what is wrong.

**Blame.** A 500 may mean that a line can't be stored, that nothing can be at the moment, or that all was
stored. So a post is sent again first. When it is refused again, or with a status that means its content,
an empty post asks whether any is taken. If so, the post is halved, and the half that is refused again, in
the order of the lines, until what is refused is a line. Each time that one is refused alone, something
else is taken before the next, or there is a pause. After ``REFUSALS`` a notice is posted in its place.
Where that is taken, the line is to blame and left out; where it is not, nothing is taken at the moment.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import assert_never

from ptyshipper.uplink.attempts import CONNECT_TIMEOUT_S, FOREVER_S, Attempts
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.outcomes import (
    Action,
    Outcome,
    Refusal,
    Trouble,
    of_post_status,
    of_trouble,
    refusal_of,
)
from ptyshipper.uplink.posting.commands import (
    AskForWebSocket,
    Command,
    Disconnect,
    Finish,
    Gather,
    GiveWay,
    Post,
    Settle,
)
from ptyshipper.uplink.posting.events import (
    Answered,
    Closed,
    DataCommitted,
    Event,
    FinishRequested,
    Gathered,
    Ticked,
    WebSocketAsked,
)
from ptyshipper.uplink.posting.pace import Pace
from ptyshipper.uplink.posting.post import Entry, Stamps, notice
from ptyshipper.uplink.posting.progress import Progress

ANSWER_TIMEOUT_S = 30.0
WEBSOCKET_AGAIN_S = 300.0
"""Between two looks whether the backend speaks WebSocket by now."""

REFUSALS = 3


class State(Enum):
    GATHERING = "gathering"
    IDLE = "idle"
    POSTING = "posting"
    PROBING = "probing"
    NAPPING = "napping"
    PAUSING = "pausing"
    ASKING = "asking"
    ENDED = "ended"


class _Batch:
    """What is posted together. ``is_part``: of one that was divided; its stamps are all different.
    ``refused``: this is the notice that stands for that line."""

    def __init__(
        self,
        entries: tuple[Entry, ...],
        stamps_ms: tuple[int, ...],
        *,
        is_part: bool = False,
        refused: _Batch | None = None,
    ) -> None:
        self.entries = entries
        self.stamps_ms = stamps_ms
        self.is_part = is_part
        self.refused = refused
        self.refusals = 0
        self.status = 0  # of the last refusal


class Core:
    """The state machine. After each ``handle`` carry out the commands in order; each that asks for an
    answer gets it as the next event. Call with Ticked when ``timer_s`` is reached, and with DataCommitted
    when there is something new while ``may_wake``.

    ``may_change``: a WebSocket is asked for now and then. ``left_out`` counts lines.
    """

    def __init__(
        self,
        plan: Plan,
        attempts: Attempts,
        progress: Progress,
        stamps: Stamps,
        now_s: float,
        *,
        may_change: bool,
    ) -> None:
        self.state = State.IDLE
        self.left_out = 0
        self._plan = plan
        self._attempts = attempts
        self._progress = progress
        self._stamps = stamps
        self._pace = Pace(now_s)
        self._committed = 0
        self._until_s = FOREVER_S
        self._may_change = may_change
        self._ask_s = now_s + WEBSOCKET_AGAIN_S if may_change else FOREVER_S
        self._current: _Batch | None = None
        self._waiting: deque[_Batch] = deque()
        self._aside: deque[_Batch] = deque()  # single lines, refused alone; after all that waits
        self._done = progress  # of which nothing is settled while anything before it is not
        self._is_out_of_order = False  # something was put aside, and is not done with
        self._is_full = False
        self._to_the_end = False
        self._is_taking = False  # something was taken since a line was refused alone

    @property
    def timer_s(self) -> float:
        """When to call with Ticked."""
        return min(self._until_s, self._attempts.deadline_s)

    @property
    def may_wake(self) -> bool:
        """Something new is waited for."""
        return self.state is State.IDLE

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take an event in; ``now_s`` is monotonic."""
        if self.state is State.ENDED:
            return []
        match event:
            case Gathered():
                return self._on_gathered(event, now_s)
            case Answered():
                return self._on_answered(event, now_s)
            case Closed():
                is_due = self.state in (State.POSTING, State.PROBING)
                return self._fail(event.outcome, now_s) if is_due else []
            case DataCommitted():
                self._committed = event.offset
                return self._gather() if self.may_wake else []
            case Ticked():
                return self._on_tick(now_s)
            case WebSocketAsked():
                return self._on_websocket_asked(event.is_there, now_s)
            case FinishRequested():
                return self._on_finish_requested(event.deadline_s, now_s)
            case _:
                assert_never(event)

    def _on_gathered(self, event: Gathered, now_s: float) -> list[Command]:
        if self.state is not State.GATHERING:
            return []
        self._is_full = event.is_full
        self._done = self._done._replace(terminals=event.terminals)
        if event.entries:
            self._waiting.append(_Batch(event.entries, self._stamps.of(event.entries)))
            return self._post(now_s)
        commands: list[Command] = []
        if event.settled_offset > self._done.offset:  # by records that are no lines
            self._done = self._done._replace(offset=event.settled_offset)
            commands = self._settle()
        if self._attempts.is_ending:
            return [*commands, *(self._end(True) if self._to_the_end else self._gather())]
        if not self._attempts.is_proven:
            return [*commands, *self._probe(now_s)]
        self._become(State.IDLE, self._ask_s)
        return commands

    def _on_answered(self, event: Answered, now_s: float) -> list[Command]:
        refusal = refusal_of(event.status)
        outcome = of_post_status(event.status, event.retry_after_s)
        if self.state is State.PROBING:
            return self._on_probed(now_s) if refusal is None else self._fail(outcome, now_s)
        if self.state is not State.POSTING or self._current is None:
            return []
        if refusal is None:
            return self._on_taken(self._current, now_s)
        if refusal is Refusal.OF_ALL or self._current.refused is not None:
            return self._fail(outcome, now_s)
        self._current.refusals += 1
        self._current.status = event.status
        if self._current.is_part:
            return self._blame(self._current, now_s)
        if refusal is Refusal.OF_CONTENT or self._current.refusals > 1:
            return self._probe(now_s)
        return self._fail(outcome, now_s)

    def _on_probed(self, now_s: float) -> list[Command]:
        """Posts are taken. If one was not, whose fault is it?"""
        self._attempts.answer()
        batch = self._current
        if batch is None:
            return self._go_on(now_s)
        batch.is_part = True
        batch.stamps_ms = self._stamps.of(batch.entries, apart=True)
        self._is_taking = False
        return self._divide(batch, now_s)

    def _on_taken(self, batch: _Batch, now_s: float) -> list[Command]:
        self._current = None
        self._attempts.succeed()
        self._is_taking = True
        self._done = self._done.beyond([e.line for e in batch.entries if e.line is not None])
        commands = self._settle()
        if batch.refused is not None:
            self.left_out += 1
            if self.left_out == 1:
                status = batch.refused.status
                commands += self._attempts.tell(
                    f"refused a line (HTTP {status}), which is left out"
                )
        nap_s = self._pace.nap_s(len(batch.entries), now_s)
        is_behind = self._waiting or self._aside or self._is_full or self._attempts.is_ending
        if is_behind or not nap_s:
            return [*commands, *self._go_on(now_s)]
        self._become(State.NAPPING, now_s + nap_s)
        return commands

    def _blame(self, batch: _Batch, now_s: float) -> list[Command]:
        """A part of what was divided was refused again."""
        if len(batch.entries) > 1 or batch.refusals < REFUSALS:
            return self._divide(batch, now_s)
        entries = (notice(batch.entries[0], batch.status),)
        self._waiting.appendleft(_Batch(entries, batch.stamps_ms, refused=batch))
        return self._post(now_s)

    def _divide(self, batch: _Batch, now_s: float) -> list[Command]:
        """Halve it; a line is put aside, for what others come to, or after a pause posted again."""
        self._current = None
        middle = len(batch.entries) // 2
        if middle:
            for half in (slice(middle, None), slice(None, middle)):
                part = _Batch(batch.entries[half], batch.stamps_ms[half], is_part=True)
                self._waiting.appendleft(part)
            return self._post(now_s)
        is_taking, self._is_taking = self._is_taking, False
        if is_taking:
            self._aside.append(batch)
            self._is_out_of_order = True
            return self._go_on(now_s)
        self._waiting.appendleft(batch)
        return self._pause(now_s + self._attempts.pause_s())

    def _on_tick(self, now_s: float) -> list[Command]:
        if now_s >= self._attempts.deadline_s:
            return self._end_late()
        if now_s < self._until_s:
            return []
        match self.state:
            case State.POSTING | State.PROBING:
                return self._fail(of_trouble(Trouble.TIMED_OUT), now_s)
            case State.ASKING:
                return [Disconnect(), *self._on_websocket_asked(False, now_s)]
            case State.PAUSING:
                if self._attempts.has_failed:
                    self._until_s = self._attempts.earliest_s(self._until_s, now_s)
                    if now_s < self._until_s:
                        return []
                    self._attempts.note(now_s)
                return self._go_on(now_s)
            case State.NAPPING | State.IDLE:
                return self._go_on(now_s)
            case _:
                return []

    def _on_websocket_asked(self, is_there: bool, now_s: float) -> list[Command]:
        if self.state is not State.ASKING:
            return []
        if is_there:
            self._become(State.ENDED, FOREVER_S)
            return [Disconnect(), GiveWay()]
        self._ask_s = now_s + WEBSOCKET_AGAIN_S
        return self._go_on(now_s)

    def _on_finish_requested(self, deadline_s: float, now_s: float) -> list[Command]:
        self._attempts.finish(deadline_s)
        self._ask_s = FOREVER_S
        match self.state:
            case State.IDLE | State.NAPPING:
                return self._gather()
            case State.ASKING:
                return [Disconnect(), *self._go_on(now_s)]
            case State.PAUSING if not self._waiting:
                return self._gather()
            case State.PAUSING:
                again_s = self._attempts.hurry(self._until_s, now_s)
                return self._end(delivered=False) if again_s is None else self._pause(again_s)
            case _:
                return []

    def _go_on(self, now_s: float) -> list[Command]:
        """The next post, of what waits already or of what is new."""
        if now_s >= self._ask_s:
            self._become(State.ASKING, now_s + CONNECT_TIMEOUT_S)
            return [AskForWebSocket()]
        if not self._waiting:
            self._waiting, self._aside = self._aside, self._waiting
        return self._post(now_s) if self._waiting else self._gather()

    def _gather(self) -> list[Command]:
        self._become(State.GATHERING, FOREVER_S)
        self._to_the_end = self._attempts.is_ending
        return [Gather(self._to_the_end)]

    def _post(self, now_s: float) -> list[Command]:
        """The first of what waits, but not before the time that the backend asked for."""
        if now_s < self._attempts.not_before_s:
            return self._pause(self._attempts.not_before_s)
        self._current = batch = self._waiting.popleft()
        self._become(State.POSTING, now_s + ANSWER_TIMEOUT_S)
        return [Post(batch.entries, batch.stamps_ms)]

    def _probe(self, now_s: float) -> list[Command]:
        self._become(State.PROBING, now_s + ANSWER_TIMEOUT_S)
        return [Post((), ())]

    def _settle(self) -> list[Command]:
        """Nothing is done with before what was gathered before it."""
        self._is_out_of_order &= bool(self._waiting or self._aside)
        if self._is_out_of_order:
            return []
        self._progress = self._done = self._done._replace(last_ms=self._stamps.last_ms)
        return [Settle(self._progress)]

    def _fail(self, outcome: Outcome, now_s: float) -> list[Command]:
        """Nothing was taken, and nothing in it is to blame: try again."""
        batch, self._current = self._current, None
        if batch is not None:
            self._waiting.appendleft(batch.refused or batch)
        if outcome.action is Action.FALLBACK and self._may_change:
            self._ask_s = now_s  # no posts any more: a WebSocket maybe
        warnings, again_s = self._attempts.fail(outcome, now_s)
        if again_s is None:
            return [Disconnect(), *warnings, *self._end(delivered=False)]
        return [Disconnect(), *warnings, *self._pause(again_s)]

    def _pause(self, until_s: float) -> list[Command]:
        self._become(State.PAUSING, until_s)
        return self._end_late() if until_s >= self._attempts.deadline_s else []

    def _become(self, state: State, until_s: float) -> None:
        self.state = state
        self._until_s = until_s

    def _end(self, delivered: bool) -> list[Command]:
        commands: list[Command] = []
        if self.left_out > 1:
            commands += self._attempts.tell(f"refused {self.left_out} lines in all")
        self._become(State.ENDED, FOREVER_S)
        self._attempts.deadline_s = FOREVER_S
        return [*commands, Finish(delivered)]

    def _end_late(self) -> list[Command]:
        late = self._attempts.late(self._committed - self._progress.offset)
        return [Disconnect(), *late, *self._end(delivered=False)]
