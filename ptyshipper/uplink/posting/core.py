"""What to post, when, and whom to blame for a refusal: events and the time in, commands out.

No I/O and no clock. One ``Core`` delivers one session, one post in flight.

=============  ==============================================================================
state          leaves it on
=============  ==============================================================================
GATHERING      Gathered -> POSTING; where there was nothing, PROBING once, else IDLE
IDLE           Woken -> GATHERING
POSTING        Answered, Failed, timer (30 s) -> GATHERING, NAPPING, PAUSING, PROBING or POSTING
PROBING        Answered, Failed, timer (30 s) -> POSTING, GATHERING or PAUSING
NAPPING        its timer -> GATHERING
PAUSING        its timer -> POSTING or GATHERING
ASKING         WebSocketAsked -> GATHERING, or ENDED where there is one
ENDED          nothing
=============  ==============================================================================

An empty post asks whether the backend takes posts of ours. A session that has nothing to post at its start
begins with one: those before it are waiting for the answer, and whoever set it up for what is wrong.

**Blame.** A 500 may mean that a line can't be stored, that nothing can be at the moment, or that all was
stored. So a post is sent again first. When it is refused again, or with a status that means its content,
an empty post asks whether any is taken. If so, the post is halved, and the
half that is refused again, in the order of the lines, until what is refused is a line. That one is put
aside. It is left out after ``REFUSALS`` refusals alone, and for a 500 only if other lines were taken since
the first: where nothing is taken, the line is not to blame.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple, assert_never

from ptyshipper.uplink.backoff import AttemptLimit, Backoff
from ptyshipper.uplink.outcomes import (
    Action,
    Outcome,
    Refusal,
    Trouble,
    of_post_status,
    of_trouble,
    refusal_of,
)
from ptyshipper.uplink.posting.lines import Line
from ptyshipper.uplink.posting.post import MAX_LINES, Entry, Stamps
from ptyshipper.uplink.posting.progress import Progress

ANSWER_TIMEOUT_S = 30.0
WEBSOCKET_AGAIN_S = 300.0
"""Between two looks whether the backend speaks WebSocket by now."""

REFUSALS = 3
MAX_HALVINGS = MAX_LINES.bit_length()
FOREVER_S = float("inf")

NAP_S_PER_LINE_PER_S = 1e-4
MIN_NAP_S = 0.001
MAX_NAP_S = 0.1
RATE_OVER_S = 0.2
"""After a post that was not full comes a nap, so that a stream of many small writes costs ten posts a
second and not a hundred: at 10 lines a second none, at 1,000 the longest."""


class State(Enum):
    GATHERING = "gathering"
    IDLE = "idle"
    POSTING = "posting"
    PROBING = "probing"
    NAPPING = "napping"
    PAUSING = "pausing"
    ASKING = "asking"
    ENDED = "ended"


class Plan(NamedTuple):
    """What is delivered, and how.

    ``live``: more may come until FinishRequested. ``max_failures``: end after so many in a row without
    anything taken. ``name`` is what warnings call the backend; None for no warnings at all.
    ``may_change``: a WebSocket is asked for now and then.
    """

    live: bool
    max_failures: int | None
    name: str | None
    may_change: bool


class Gathered(NamedTuple):
    """What the next post takes, maybe nothing. ``is_full``: there is more already.

    ``settled_offset``: everything before it is in these lines or in those before. ``terminals``: see
    Progress.
    """

    entries: tuple[Entry, ...]
    is_full: bool
    settled_offset: int
    terminals: int


class Woken(NamedTuple):
    """Something new may be had; the spool can be read up to ``committed``."""

    committed: int


class Answered(NamedTuple):
    status: int
    retry_after: str | None


class Failed(NamedTuple):
    outcome: Outcome


class WebSocketAsked(NamedTuple):
    is_there: bool


class Ticked(NamedTuple):
    """``timer_s`` was reached; harmless at any other time."""


class FinishRequested(NamedTuple):
    """The last record is committed: deliver by ``deadline_s``, then end."""

    deadline_s: float


class Gather(NamedTuple):
    """Answer with Gathered; where ``to_the_end``, with what was begun and will not go on."""

    to_the_end: bool


class Post(NamedTuple):
    """Answer with Answered or Failed. Without entries it is the question whether posts are taken."""

    entries: tuple[Entry, ...]
    stamps_ms: tuple[int, ...]


class Disconnect(NamedTuple):
    """Drop the connection, and the answer that is waited for."""


class Settle(NamedTuple):
    """These are done with: taken, or left out."""

    progress: Progress


class AskForWebSocket(NamedTuple):
    """Answer with WebSocketAsked."""


class Warn(NamedTuple):
    text: str


class Finish(NamedTuple):
    """The last command. ``delivered``: all was taken; else ``changes``: go on with the WebSocket."""

    delivered: bool
    changes: bool = False


Event = Gathered | Woken | Answered | Failed | WebSocketAsked | Ticked | FinishRequested
Command = Gather | Post | Disconnect | Settle | AskForWebSocket | Warn | Finish


class _Batch:
    """What is posted together. ``is_part``: of one that was halved; its stamps are all different."""

    def __init__(
        self, entries: tuple[Entry, ...], stamps_ms: tuple[int, ...], *, is_part: bool = False
    ) -> None:
        self.entries = entries
        self.stamps_ms = stamps_ms
        self.is_part = is_part
        self.refusals = 0
        self.taken_before = 0  # posts, at the first refusal


class Core:
    """The state machine. After each ``handle`` carry out the commands in order; each that asks for an
    answer gets it as the next event. Call with Ticked when ``timer_s`` is reached, and with Woken when
    there is something new while ``may_wake``.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Progress,
        stamps: Stamps,
        backoff: Backoff,
        limit: AttemptLimit,
        now_s: float,
    ) -> None:
        self.state = State.IDLE
        self.left_out = 0
        self._plan = plan
        self._progress = progress
        self._stamps = stamps
        self._backoff = backoff
        self._limit = limit
        self._committed = 0
        self._ending = not plan.live
        self._deadline_s = FOREVER_S
        self._until_s = FOREVER_S
        self._ask_s = now_s + WEBSOCKET_AGAIN_S if plan.may_change else FOREVER_S
        self._waiting: deque[_Batch] = deque()
        self._current: _Batch | None = None
        self._suspects: deque[_Batch] = deque()  # single lines, refused alone
        self._held = progress  # what will be settled once nothing before it is waiting
        self._is_full = False
        self._to_the_end = False
        self._retry_s = now_s  # when a suspect is tried again though nothing else was taken
        self._not_before_s = now_s  # as the backend asked for
        self._failures = 0  # in a row, of all
        self._refused = 0  # in a row, of parts of what was divided
        self._taken = 0
        self._ever_taken = False
        self._last_action = Action.RETRY
        self._warned: set[str] = set()
        self._lines_per_s = 0.0
        self._posted_s = now_s

    @property
    def timer_s(self) -> float:
        """When to call with Ticked."""
        return min(self._until_s, self._deadline_s)

    @property
    def may_wake(self) -> bool:
        """Something new is waited for. While a line is under suspicion it may be what clears it up."""
        is_stuck = self.state is State.PAUSING and bool(self._suspects) and not self._waiting
        return self.state is State.IDLE or is_stuck

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take an event in; ``now_s`` is monotonic."""
        if self.state is State.ENDED:
            return []
        match event:
            case Gathered():
                return self._on_gathered(event, now_s)
            case Answered():
                return self._on_answered(event, now_s)
            case Failed():
                return self._on_failed(event.outcome, now_s)
            case Woken():
                self._committed = event.committed
                return self._gather() if self.may_wake else []
            case Ticked():
                return self._on_tick(now_s)
            case WebSocketAsked():
                if event.is_there:
                    self.state = State.ENDED
                    return [Disconnect(), Finish(False, changes=True)]
                self._ask_s = now_s + WEBSOCKET_AGAIN_S
                return self._gather()
            case FinishRequested():
                return self._on_finish_requested(event.deadline_s, now_s)
            case _:
                assert_never(event)

    def _on_gathered(self, event: Gathered, now_s: float) -> list[Command]:
        if self.state is not State.GATHERING:
            return []
        self._is_full = event.is_full
        self._held = self._held._replace(terminals=event.terminals)
        if event.entries:
            self._waiting.append(_Batch(event.entries, self._stamps.of(event.entries)))
            return self._post(now_s)
        if self._suspects:
            if self._suspects[0].refusals == self._plan.max_failures:
                return [Disconnect(), *self._end(delivered=False)]
            return self._pause(max(0.0, self._retry_s - now_s), now_s)
        commands: list[Command] = []
        if event.settled_offset > self._held.offset:  # by records that are no lines
            self._held = self._held._replace(offset=event.settled_offset)
            commands = self._settle()
        if self._ending:
            return [*commands, *(self._end(True) if self._to_the_end else self._gather())]
        if not self._ever_taken:
            self._become(State.PROBING, now_s + ANSWER_TIMEOUT_S)
            return [*commands, Post((), ())]
        if now_s >= self._ask_s:
            return [*commands, *self._ask()]
        self._become(State.IDLE, self._ask_s)
        return commands

    def _on_answered(self, event: Answered, now_s: float) -> list[Command]:
        if self.state is State.PROBING:
            if refusal_of(event.status) is not None:
                return self._fail(of_post_status(event.status, event.retry_after), now_s)
            self._failures = self._refused = 0
            self._ever_taken = True
            return self._divide(self._current, now_s) if self._current else self._go_on(now_s)
        if self.state is not State.POSTING or self._current is None:
            return []
        refusal = refusal_of(event.status)
        if refusal is None:
            return self._on_taken(self._current, now_s)
        if refusal is Refusal.OF_ALL:
            return self._fail(of_post_status(event.status, event.retry_after), now_s)
        return self._on_refused(self._current, event, refusal, now_s)

    def _on_taken(self, batch: _Batch, now_s: float) -> list[Command]:
        self._current = None
        self._failures = self._refused = 0
        self._taken += 1
        self._ever_taken = True
        self._backoff.reset()
        self._hold(batch)
        commands = self._settle()
        nap_s = self._nap_s(len(batch.entries), now_s)
        if self._waiting or self._suspects or self._is_full or self._ending or nap_s < MIN_NAP_S:
            return [*commands, *self._go_on(now_s)]
        self._become(State.NAPPING, now_s + nap_s)
        return commands

    def _on_refused(
        self, batch: _Batch, event: Answered, refusal: Refusal, now_s: float
    ) -> list[Command]:
        """Something in it may be to blame."""
        if not batch.refusals:
            batch.taken_before = self._taken
        batch.refusals += 1
        if batch.is_part:
            return self._blame(batch, event.status, refusal, now_s)
        if refusal is Refusal.OF_CONTENT or batch.refusals > 1:
            self._become(State.PROBING, now_s + ANSWER_TIMEOUT_S)
            return [Post((), ())]
        return self._fail(of_post_status(event.status, event.retry_after), now_s)

    def _divide(self, batch: _Batch, now_s: float) -> list[Command]:
        """Posts are taken, this one is not: whose fault is it?"""
        self._current = None
        middle = len(batch.entries) // 2
        if not middle:
            batch.is_part = True
            return self._suspect(batch, now_s)
        stamps_ms = batch.stamps_ms
        if not batch.is_part:
            stamps_ms = self._stamps.of(batch.entries, apart=True)
        for part in (slice(middle, None), slice(None, middle)):
            self._waiting.appendleft(_Batch(batch.entries[part], stamps_ms[part], is_part=True))
        return self._retry(now_s)

    def _blame(self, batch: _Batch, status: int, refusal: Refusal, now_s: float) -> list[Command]:
        if len(batch.entries) > 1:
            return self._divide(batch, now_s)
        self._current = None
        others_were_taken = self._taken > batch.taken_before
        if batch.refusals < REFUSALS or not (others_were_taken or refusal is Refusal.OF_CONTENT):
            return self._suspect(batch, now_s)
        self._hold(batch)
        self._failures = self._refused = 0
        self.left_out += 1
        commands = self._settle()
        if self.left_out == 1:
            commands += self._warning(f"a line was refused (HTTP {status}) and is left out")
        return [*commands, *self._go_on(now_s)]

    def _suspect(self, batch: _Batch, now_s: float) -> list[Command]:
        """A line was refused alone: put it aside, for what others come to, and for some time."""
        self._suspects.append(batch)
        pause_s = self._pause_s()
        self._retry_s = now_s + pause_s
        if batch.refusals > 1 and not self._waiting:
            return self._pause(pause_s, now_s)
        return self._retry(now_s)

    def _retry(self, now_s: float) -> list[Command]:
        """Go on with what was not refused yet; slower, the longer nothing is taken."""
        self._refused += 1
        if self._refused > MAX_HALVINGS:
            return self._pause(self._pause_s(), now_s)
        return self._go_on(now_s)

    def _on_failed(self, outcome: Outcome, now_s: float) -> list[Command]:
        if self.state not in (State.POSTING, State.PROBING):
            return []
        return self._fail(outcome, now_s)

    def _on_tick(self, now_s: float) -> list[Command]:
        if now_s >= self._deadline_s:
            return self._end_late()
        if now_s < self._until_s:
            return []
        match self.state:
            case State.POSTING | State.PROBING:
                return self._fail(of_trouble(Trouble.TIMED_OUT), now_s)
            case State.PAUSING:
                if self._failures:
                    self._until_s = max(self._until_s, self._limit.earliest_s(now_s))
                    if now_s < self._until_s:
                        return []
                    self._limit.note(now_s)
                return self._go_on(now_s)
            case State.NAPPING | State.IDLE:
                return self._go_on(now_s)
            case _:
                return []

    def _on_finish_requested(self, deadline_s: float, now_s: float) -> list[Command]:
        self._deadline_s = deadline_s
        self._ending = True
        match self.state:
            case State.IDLE | State.NAPPING:
                return self._gather()
            case State.PAUSING if not self._waiting and not self._suspects:
                return self._gather()
            case State.PAUSING:
                if self._last_action is not Action.RETRY or not self._plan.live:
                    return self._end(delivered=False)
                hurried_s = now_s + self._backoff.hurried_pause_s()
                self._until_s = max(min(self._until_s, hurried_s), self._not_before_s)
                return self._end_late() if self._until_s >= deadline_s else []
            case _:
                return []

    def _go_on(self, now_s: float) -> list[Command]:
        """The next post, of what waits already or of what is new."""
        if self._waiting:
            return self._post(now_s)
        if self._suspects and (self.state is State.PAUSING or self._are_others_taken()):
            self._waiting, self._suspects = self._suspects, self._waiting
            return self._post(now_s)
        if now_s >= self._ask_s and not self._suspects:
            return self._ask()
        return self._gather()

    def _are_others_taken(self) -> bool:
        """Since the suspects were refused, each of them once so far: no need to wait."""
        return all(
            self._taken > suspect.taken_before and suspect.refusals == 1
            for suspect in self._suspects
        )

    def _gather(self) -> list[Command]:
        self._become(State.GATHERING, FOREVER_S)
        self._to_the_end = self._ending
        return [Gather(self._to_the_end)]

    def _post(self, now_s: float) -> list[Command]:
        self._current = batch = self._waiting.popleft()
        self._become(State.POSTING, now_s + ANSWER_TIMEOUT_S)
        return [Post(batch.entries, batch.stamps_ms)]

    def _ask(self) -> list[Command]:
        if self._ending:
            self._ask_s = FOREVER_S
            return self._gather()
        self._become(State.ASKING, FOREVER_S)
        return [AskForWebSocket()]

    def _hold(self, batch: _Batch) -> None:
        """It is done with, and will be settled with all that was gathered before it."""
        held = self._held
        offset, ends, open_lines = held.offset, list(held.ends), held.open_lines
        seen: set[int] = set()
        for entry in reversed(batch.entries):
            line: Line | None = entry.line
            if line is None or line.source in seen:
                continue
            seen.add(line.source)
            if line.end <= ends[line.source]:
                continue
            ends[line.source] = line.end
            open_lines &= ~(1 << line.source)
            open_lines |= (not line.is_whole) << line.source
            offset = max(offset, line.settled_offset)
        self._held = held._replace(offset=offset, ends=tuple(ends), open_lines=open_lines)

    def _settle(self) -> list[Command]:
        """Nothing is done with before what was gathered before it."""
        if self._waiting or self._suspects:
            return []
        self._progress = self._held = self._held._replace(last_ms=self._stamps.last_ms)
        return [Settle(self._progress)]

    def _nap_s(self, count: int, now_s: float) -> float:
        passed_s, self._posted_s = now_s - self._posted_s, now_s
        self._lines_per_s = (self._lines_per_s * RATE_OVER_S + count) / (passed_s + RATE_OVER_S)
        if count >= MAX_LINES:
            return 0.0
        return min(MAX_NAP_S, self._lines_per_s * NAP_S_PER_LINE_PER_S)

    def _fail(self, outcome: Outcome, now_s: float) -> list[Command]:
        """Nothing was taken, and nothing in it is to blame: try again."""
        if self._current is not None:
            self._waiting.appendleft(self._current)
            self._current = None
        self._failures += 1
        warnings = self._warnings_for(outcome)
        is_final = (
            outcome.action is Action.GIVE_UP
            or (self._ending and outcome.action is not Action.RETRY)
            or (not self._plan.live and self._deadline_s < FOREVER_S)
            or self._failures == self._plan.max_failures
        )
        if is_final:
            return [Disconnect(), *warnings, *self._end(delivered=False)]
        slow = outcome.action is not Action.RETRY
        pause_s = self._backoff.slow_pause_s() if slow else self._pause_s()
        self._not_before_s = now_s + outcome.retry_after_s
        commands = self._pause(max(pause_s, outcome.retry_after_s), now_s, outcome.action)
        return [Disconnect(), *warnings, *commands]

    def _pause_s(self) -> float:
        if self._deadline_s < FOREVER_S:
            return self._backoff.hurried_pause_s()
        return self._backoff.pause_s()

    def _pause(self, pause_s: float, now_s: float, action: Action = Action.RETRY) -> list[Command]:
        self._last_action = action
        self._become(State.PAUSING, now_s + pause_s)
        if self._failures:
            self._until_s = max(self._until_s, self._limit.earliest_s(now_s))
        return self._end_late() if self._until_s >= self._deadline_s else []

    def _become(self, state: State, until_s: float) -> None:
        self.state = state
        self._until_s = until_s

    def _warnings_for(self, outcome: Outcome) -> list[Command]:
        """At most one per cause, and none for what fails once: connections are lost, servers busy."""
        is_routine = self._ever_taken and self._failures == 1 and outcome.action is Action.RETRY
        if is_routine or outcome.cause in self._warned:
            return []
        self._warned.add(outcome.cause)
        ending = "retrying" if outcome.action is Action.RETRY else "will try again in minutes"
        return self._warning(f"{outcome.reason}; {ending}")

    def _warning(self, what: str) -> list[Command]:
        if self._plan.name is None:
            return []
        return [Warn(f"can't ship to {self._plan.name}: {what}; the program is not affected")]

    def _end(self, delivered: bool) -> list[Command]:
        commands: list[Command] = []
        if self.left_out > 1 and self._plan.name is not None:
            commands.append(Warn(f"{self._plan.name} refused {self.left_out} lines in all"))
        self._become(State.ENDED, FOREVER_S)
        self._deadline_s = FOREVER_S
        return [*commands, Finish(delivered)]

    def _end_late(self) -> list[Command]:
        commands: list[Command] = [Disconnect()]
        if self._plan.name is not None and not self._warned:
            missing_bytes = self._committed - self._progress.offset
            text = f"{self._plan.name} did not acknowledge the last {missing_bytes} bytes in time"
            commands.append(Warn(text))
        return commands + self._end(delivered=False)
