"""Scripts for the posting core: events in, commands out, at times that the test says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.uplink.attempts import CONNECT_TIMEOUT_S, Attempts
from ptyshipper.uplink.backoff import MAX_ATTEMPTS, AttemptLimit, Backoff
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.outcomes import Trouble, of_trouble
from ptyshipper.uplink.posting.commands import (
    AskForWebSocket,
    Command,
    Disconnect,
    Finish,
    Gather,
    GiveWay,
    Post,
    Settle,
    Warn,
)
from ptyshipper.uplink.posting.core import (
    ANSWER_TIMEOUT_S,
    REFUSALS,
    WEBSOCKET_AGAIN_S,
    Core,
    State,
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
from ptyshipper.uplink.posting.lines import Line
from ptyshipper.uplink.posting.pace import MAX_NAP_S
from ptyshipper.uplink.posting.post import Entry, Stamps
from ptyshipper.uplink.posting.progress import Progress
from ptyshipper.wire.messages import ByeReason

NAME = "host:80"
LOST = of_trouble(Trouble.LOST)
LINE_BYTES = 100


def entry(number: int) -> Entry:
    """Line ``number`` of stdout; it ends where the next begins."""
    end = (number + 1) * LINE_BYTES
    line = Line(number, 0, f"line {number}", True, end, end)
    return Entry(number, b"stdout", b'"line %d"' % number, line, 50)


def entries(first: int, count: int) -> tuple[Entry, ...]:
    return tuple(entry(number) for number in range(first, first + count))


class Script:
    """A core and a clock; ``random`` always returns 1, so pauses are as long as they can be."""

    def __init__(
        self,
        live: bool = True,
        max_failures: int | None = None,
        may_change: bool = False,
        started_ms: int = 0,
    ) -> None:
        bye = ByeReason.ENDED if live else ByeReason.CUT
        plan = Plan(live, bye, 2**20, 0, max_failures, NAME if live else None)
        self.now_s = 1000.0
        self.core = Core(
            plan,
            Attempts(plan, Backoff(lambda: 1.0), AttemptLimit()),
            Progress(),
            Stamps(started_ms, -1),
            self.now_s,
            may_change=may_change,
        )

    def __call__(self, event: Event) -> list[Command]:
        return self.core.handle(event, self.now_s)

    def wait(self) -> list[Command]:
        """Let time pass until the core wants to be told."""
        self.now_s = max(self.now_s, self.core.timer_s)
        return self(Ticked())

    def greet(self) -> None:
        """Find nothing, and be told that posts are taken."""
        assert self(DataCommitted(0)) == [Gather(False)]
        assert self.give() == [Post((), ())]
        assert self.answer(204) == [Gather(False)]
        assert self.give() == []

    def give(self, *made: Entry, full: bool = False, settled: int = 0) -> list[Command]:
        return self(Gathered(made, full, settled, 0))

    def post(self, *made: Entry) -> Post:
        """Wake it and let it gather these: what it posts."""
        assert self(DataCommitted(10_000)) == [Gather(False)]
        (command,) = self.give(*made)
        assert isinstance(command, Post)
        return command

    def answer(self, status: int, retry_after_s: float = 0.0) -> list[Command]:
        return self(Answered(status, retry_after_s))


def settled(commands: Sequence[Command]) -> list[int]:
    return [command.progress.offset for command in commands if isinstance(command, Settle)]


def posted(commands: Sequence[Command]) -> list[int]:
    """The lines of the one post among the commands."""
    (post,) = [command for command in commands if isinstance(command, Post)]
    return [each.time_us for each in post.entries]


def test_a_line_is_posted_at_once_and_settled_when_taken() -> None:
    script = Script()
    assert script.post(entry(0)).entries == (entry(0),)
    assert script.core.timer_s == script.now_s + ANSWER_TIMEOUT_S
    commands = script.answer(204)
    assert settled(commands) == [LINE_BYTES]
    assert commands[-1] == Gather(False)
    assert script.give() == []
    assert script.core.may_wake


def test_what_a_successor_must_know_of_the_streams_is_settled_with_the_lines() -> None:
    script = Script()
    script(DataCommitted(1))
    script(Gathered((entry(0),), False, 0, 0b11))
    (settle, _) = script.answer(204)
    assert isinstance(settle, Settle)
    assert settle.progress == Progress(LINE_BYTES, (LINE_BYTES, 0, 0, 0), 0, 0, 0b11)


def test_one_post_is_in_flight() -> None:
    script = Script()
    script.post(entry(0))
    assert not script.core.may_wake
    assert script(DataCommitted(20_000)) == []


def test_what_is_no_line_is_settled_too() -> None:
    script = Script()
    script.greet()
    script(DataCommitted(33))
    assert settled(script.give(settled=33)) == [33]
    assert script.core.state is State.IDLE


def test_a_session_with_nothing_to_post_asks_once_whether_posts_are_taken() -> None:
    script = Script()
    script(DataCommitted(33))
    assert script.give(settled=33)[-1] == Post((), ())
    (_, warning) = script.answer(403)
    assert isinstance(warning, Warn)
    script.wait()
    assert script.give() == [Post((), ())]
    assert script.answer(204) == [Gather(False)]
    assert script.give() == []
    assert script.core.state is State.IDLE


def test_a_session_that_has_nothing_to_post_does_not_wait_for_the_backend() -> None:
    script = Script()
    script(DataCommitted(33))
    script.give(settled=33)
    script.answer(503)
    assert script(FinishRequested(script.now_s + 10)) == [Gather(True)]
    assert script.give(settled=66)[-1] == Finish(True)


def test_the_end_waits_for_the_last_answer_and_what_was_begun() -> None:
    script = Script()
    script.post(entry(0))
    assert script(FinishRequested(script.now_s + 10)) == []
    assert script.answer(204)[-1] == Gather(True)
    assert posted(script.give(entry(1))) == [1]
    assert script.answer(204)[-1] == Gather(True)
    assert script.give(settled=500)[-1] == Finish(True)
    assert script(Ticked()) == []


def test_what_was_not_asked_for_to_the_end_is_asked_for_again() -> None:
    script = Script()
    assert script(DataCommitted(1)) == [Gather(False)]
    script(FinishRequested(script.now_s + 10))
    assert script.give() == [Gather(True)]


def test_many_small_posts_are_followed_by_naps_and_few_are_not() -> None:
    script = Script()
    for number in range(10):
        script.now_s += 0.2
        script.post(entry(number))
        assert script.answer(204)[-1] == Gather(False), "a line now and then never waits"
        script.give()
    script.post(*entries(10, 400))
    assert not [c for c in script.answer(204) if isinstance(c, Gather)]
    assert script.core.state is State.NAPPING
    assert script.core.timer_s == pytest.approx(script.now_s + MAX_NAP_S)
    assert not script.core.may_wake
    assert script.wait() == [Gather(False)]


@pytest.mark.parametrize("full", [True, False])
def test_a_flood_is_posted_without_a_pause(full: bool) -> None:
    script = Script()
    script(DataCommitted(1))
    count = 300 if full else 500
    for turn in range(5):
        script.give(*entries(turn * count, count), full=full)
        assert script.answer(204)[-1] == Gather(False)


RETRIED = [429, 502, 503, 504, 408, 425]


@pytest.mark.parametrize("status", RETRIED)
def test_what_passes_is_posted_again_as_it_was(status: int) -> None:
    script = Script()
    first = script.post(entry(0), entry(1))
    commands = script.answer(status)
    assert isinstance(commands[0], Disconnect)
    assert settled(commands) == []
    assert script.wait() == [first]
    assert settled(script.answer(204)) == [2 * LINE_BYTES]


def test_retry_after_is_obeyed() -> None:
    script = Script()
    script.post(entry(0))
    script.answer(429, 17.0)
    # Its own pause on top: not all who were told the same time come back at once.
    assert script.core.timer_s == script.now_s + 17 + 0.5
    script.wait()
    script.answer(503, 3.0)
    assert script.core.timer_s > script.now_s + 3


def test_retry_after_is_obeyed_at_the_end_too() -> None:
    script = Script()
    script.post(entry(0))
    script.answer(429, 5.0)
    asked_s = script.now_s
    assert script(FinishRequested(script.now_s + 10)) == []
    assert script.core.timer_s == asked_s + 5
    script.wait()
    script.answer(204)
    script.give(entry(1))
    script.answer(429, 60.0)
    assert script.core.state is State.ENDED


def test_retry_after_is_obeyed_by_what_came_meanwhile() -> None:
    script = Script()
    script(DataCommitted(33))
    script.give(settled=33)
    script.answer(429, 5.0)
    asked_s = script.now_s
    assert script(FinishRequested(script.now_s + 10)) == [Gather(True)]
    assert script.give(entry(0)) == []
    assert posted(script.wait()) == [0]
    assert script.now_s == asked_s + 5


def test_an_answer_that_never_comes_is_waited_for_longer_than_a_keep_alive() -> None:
    script = Script()
    first = script.post(entry(0))
    began_s = script.now_s
    assert Disconnect() in script.wait()
    assert script.now_s == began_s + ANSWER_TIMEOUT_S > began_s + 5
    assert script.wait() == [first]


def test_attempts_are_limited_whatever_happens() -> None:
    script = Script()
    script.post(entry(0))
    script(FinishRequested(script.now_s + 59))  # in a hurry
    attempts = 0
    for _ in range(100):
        attempts += 1
        if script(Closed(LOST))[-1] == Finish(False):
            break
        script.wait()
    assert 5 < attempts <= 1 + MAX_ATTEMPTS


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_what_somebody_must_mend_is_one_warning_and_no_wait_at_the_end(status: int) -> None:
    script = Script()
    script.post(entry(0))
    (warning,) = [c for c in script.answer(status) if isinstance(c, Warn)]
    assert str(status) in warning.text
    assert script.core.timer_s >= script.now_s + 60
    script.wait()
    assert not [c for c in script.answer(status) if isinstance(c, Warn)]
    assert script(FinishRequested(script.now_s + 10)) == [Finish(False)]


def test_a_failure_that_passes_is_no_warning_once_something_was_taken() -> None:
    script = Script()
    script.post(entry(0))
    script.answer(204)
    script.give(entry(1))
    assert not [c for c in script(Closed(LOST)) if isinstance(c, Warn)]
    script.wait()
    assert [c for c in script(Closed(LOST)) if isinstance(c, Warn)]


def test_the_deadline_ends_it_with_a_word_on_what_is_left() -> None:
    script = Script()
    script.post(entry(0))
    script(FinishRequested(script.now_s + 10))
    assert script.wait() == [
        Disconnect(),
        Warn("host:80 did not acknowledge the last 10000 bytes in time"),
        Finish(False),
    ]


def test_a_pause_that_the_deadline_cuts_short_is_not_waited_for() -> None:
    script = Script()
    script.post(entry(0))
    script(FinishRequested(script.now_s + 10))
    assert script.answer(429, 60.0)[-1] == Finish(False)


class Backend:
    """Answers the posts of a core as one that can't take certain lines; keeps what it took.

    ``status`` is what it answers to those, ``broken`` whether it fails whatever has lines.
    """

    def __init__(self, script: Script, poison: set[int], status: int) -> None:
        self.script = script
        self.poison = poison
        self.status = status
        self.broken = False
        self.taken: list[tuple[int, int]] = []  # line, stamp
        self.notices: list[tuple[int, int]] = []  # for which line, stamp
        self.posts: list[tuple[int, ...]] = []  # stamps, of those that were taken
        self.warnings: list[str] = []
        self.settled = 0
        self.requests = 0

    def run(self, *gathered: tuple[Entry, ...], until: Callable[[], bool] = lambda: False) -> bool:
        """To the end of what is given, and of the session unless told otherwise; whether it ended."""
        waiting = list(gathered)
        commands = self.script(DataCommitted(10**6))
        for _ in range(20_000):
            if until():
                return False
            answer: Event | None = None
            for command in commands:
                match command:
                    case Gather():
                        made = waiting.pop(0) if waiting else ()
                        answer = Gathered(made, bool(waiting), 0, 0)
                    case Post():
                        answer = Answered(self.take(command))
                    case Settle():
                        self.settled = command.progress.offset
                    case Warn():
                        self.warnings.append(command.text)
                    case Finish():
                        return command.delivered
            if answer is not None:
                commands = self.script(answer)
            elif waiting and self.script.core.may_wake:
                commands = self.script(DataCommitted(10**6))
            elif self.script.core.state is State.IDLE:
                commands = self.script(FinishRequested(self.script.now_s + 1000))
            else:
                commands = self.script.wait()
        raise AssertionError("it goes round in circles")

    def take(self, post: Post) -> int:
        self.requests += 1
        if not post.entries:
            return 204
        numbers = [each.time_us for each in post.entries]
        is_notice = b"left out" in post.entries[0].content
        if self.broken or (self.poison & set(numbers) and not is_notice):
            return self.status
        taken = self.notices if is_notice else self.taken
        taken += zip(numbers, post.stamps_ms, strict=True)
        self.posts.append(post.stamps_ms)
        return 204

    def check(self, count: int) -> None:
        """All was taken, once, in order of the stamps, for the poison a notice in its place; and no two
        posts share a stamp."""
        shown = sorted(self.taken + self.notices, key=lambda taken: taken[1])
        assert [number for number, _ in shown] == list(range(count))
        assert {number for number, _ in self.notices} == self.poison
        stamps = sorted(self.posts)
        assert all(one[-1] < other[0] for one, other in pairwise(stamps))
        assert self.settled == count * LINE_BYTES
        assert self.script.core.left_out == len(self.poison)
        assert sum("left out" in warning for warning in self.warnings) == bool(self.poison)


@pytest.mark.parametrize("status", [400, 413, 500])
@pytest.mark.parametrize("poison", [{0}, {250}, {499}, {0, 1}, {100, 400, 401}])
def test_poison_is_isolated_and_left_out_and_nothing_else(status: int, poison: set[int]) -> None:
    backend = Backend(Script(), poison, status)
    assert backend.run(entries(0, 500), entries(500, 500))
    backend.check(1000)
    assert backend.requests < 60 * len(poison)


@given(st.sets(st.integers(0, 59), max_size=6), st.integers(), st.sampled_from([400, 500]))
def test_any_poison_anywhere(poison: set[int], seed: int, status: int) -> None:
    chance = random.Random(seed)
    gathered, at = [], 0
    while at < 60:
        count = min(60 - at, chance.choice([1, 2, 7, 30]))
        gathered.append(entries(at, count))
        at += count
    gathered.append(entries(60, 3))  # something good at the end, to compare with
    backend = Backend(Script(), poison, status)
    assert backend.run(*gathered)
    backend.check(63)


def test_a_backend_that_takes_nothing_has_no_line_left_out() -> None:
    """Its database is read-only, say: an empty post is answered, and all others are a 500."""
    script = Script()
    backend = Backend(script, set(), 500)
    backend.broken = True
    began_s = script.now_s
    backend.run(entries(0, 4), until=lambda: script.now_s > began_s + 600)
    assert (backend.taken, script.core.left_out) == ([], 0)
    assert backend.requests < 100, "and it is not stormed"
    backend.broken = False
    assert backend.run()
    backend.check(4)


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("live", [True, False])
def test_a_lone_line_needs_no_other_to_compare_with(live: bool, status: int) -> None:
    """A notice is posted in its place: where that is taken, the line is to blame."""
    script = Script(live=live, max_failures=None if live else 5)
    backend = Backend(script, {0}, status)
    began_s = script.now_s
    assert backend.run(entries(0, 1))
    assert script.now_s < began_s + 10, "a last line does not hold up the end"
    assert (backend.notices, script.core.left_out) == ([(0, backend.posts[0][0])], 1)
    assert backend.settled == LINE_BYTES


def test_a_notice_says_what_is_missing_and_to_whom_it_belongs() -> None:
    script = Script()
    script.post(entry(0))
    script.answer(400)
    script.answer(204)
    for _ in range(REFUSALS - 2):
        script.wait()
        assert script.answer(400) == []
    (repeated,) = script.wait()
    (notice,) = script.answer(400)
    assert isinstance(repeated, Post)
    assert isinstance(notice, Post)
    (stands,) = notice.entries
    assert json.loads(stands.content) == "ptyshipper: a line was refused (HTTP 400) and is left out"
    assert (stands.stream, stands.line, notice.stamps_ms) == (
        b"stderr", entry(0).line, repeated.stamps_ms,
    )  # fmt: skip
    (settle, warning, _) = script.answer(204)
    assert isinstance(settle, Settle)
    assert warning == Warn("host:80 refused a line (HTTP 400), which is left out")


def test_where_not_even_the_notice_is_taken_the_line_is_not_to_blame() -> None:
    script = Script()
    line = script.post(entry(0))
    for status in (400, 204):
        script.answer(status)
    for _ in range(REFUSALS - 2):
        script.wait()
        script.answer(400)
    script.wait()
    (notice,) = script.answer(400)
    assert isinstance(notice, Post)
    disconnect, warning = script.answer(400)
    assert isinstance(disconnect, Disconnect)
    assert isinstance(warning, Warn)
    assert "what is posted is refused (HTTP 400); will try again in minutes" in warning.text
    (again,) = script.wait()
    assert isinstance(again, Post)
    assert (again.entries, script.core.left_out) == (line.entries, 0)
    assert settled(script.answer(204)) == [LINE_BYTES]


def test_a_leftover_makes_way_where_its_lines_are_not_taken_nor_anything_in_their_place() -> None:
    """For the next one: it may be its own trouble."""
    script = Script(live=False, max_failures=5)
    backend = Backend(script, set(), 500)
    backend.broken = True
    assert not backend.run(entries(0, 3))
    assert (backend.taken, script.core.left_out) == ([], 0)


def test_one_500_is_no_reason_to_divide() -> None:
    """It may have been stored all the same: the post is repeated whole, as it was."""
    script = Script()
    first = script.post(*entries(0, 10))
    script.answer(500)
    assert script.wait() == [first]
    assert settled(script.answer(204)) == [10 * LINE_BYTES]


def test_a_500_again_where_not_even_an_empty_post_is_taken_is_an_outage() -> None:
    script = Script()
    first = script.post(*entries(0, 10))
    script.answer(500)
    script.wait()
    assert script.answer(500) == [Post((), ())]
    assert Disconnect() in script.answer(500)
    assert script.wait() == [first]


def test_an_envelope_that_is_refused_is_no_line_s_fault() -> None:
    script = Script()
    script.post(*entries(0, 10))
    assert script.answer(400) == [Post((), ())]
    (warning,) = [c for c in script.answer(400) if isinstance(c, Warn)]
    assert "what is posted is refused (HTTP 400)" in warning.text
    assert script.core.timer_s >= script.now_s + 60


def test_nothing_is_settled_behind_a_line_under_suspicion() -> None:
    script = Script()
    backend = Backend(script, {5}, 500)
    backend.run(entries(0, 8), until=lambda: len(backend.taken) == 7)
    assert backend.settled == 5 * LINE_BYTES, "a successor repeats nothing that came before it"
    assert backend.run()
    assert backend.settled == 8 * LINE_BYTES


def test_a_line_under_suspicion_comes_before_anything_new() -> None:
    """Also where the last of the others would be followed by a nap."""
    script = Script()
    script.post(*entries(0, 4))
    script.answer(400)
    assert posted(script.answer(204)) == [0, 1]
    assert posted(script.answer(400)) == [0]
    assert posted(script.answer(204)) == [1]
    assert posted(script.answer(400)) == [2, 3]
    script(FinishRequested(script.now_s + 10))
    assert posted(script.answer(204)) == [1]
    script = Script()
    script.post(*entries(0, 4))
    for status in (400, 204, 400, 204, 400):
        script.answer(status)
    assert posted(script.answer(204)) == [1]


def test_nothing_is_settled_behind_one_of_two_lines_under_suspicion() -> None:
    """The first to be cleared up may be the second."""
    script = Script()
    backend = Backend(script, {1, 6}, 500)
    settled: list[int] = []
    backend.run(
        entries(0, 8),
        until=lambda: bool(settled.append(backend.settled) or len(backend.notices) == 1),
    )
    assert set(settled) <= {0, LINE_BYTES}
    assert backend.run()
    assert backend.settled == 8 * LINE_BYTES


@given(st.sets(st.integers(0, 39), min_size=20), st.sampled_from([400, 500]))
def test_no_line_is_refused_again_but_after_a_pause_or_something_taken(
    poison: set[int], status: int
) -> None:
    """What is wrong for a moment must not cost a line, nor what is wrong for long a storm of posts."""
    script = Script()
    backend = Backend(script, poison, status)
    log: list[tuple[str, float]] = []
    take = backend.take

    def logged(post: Post) -> int:
        answer = take(post)
        is_line = len(post.entries) == 1 and answer != 204
        log.append((f"line {post.entries[0].time_us}" if is_line else str(answer), script.now_s))
        return answer

    backend.take = logged  # type: ignore[method-assign]
    assert backend.run(entries(0, 40))
    backend.check(40)
    for number in poison:
        refused = [at for at, (what, _) in enumerate(log) if what == f"line {number}"]
        assert len(refused) >= 3, "two might be chance"
        for one, other in pairwise(refused):
            was_taken = "204" in [what for what, _ in log[one:other]]
            assert was_taken or log[other][1] > log[one][1]


def test_the_websocket_is_asked_for_now_and_then() -> None:
    script = Script(may_change=True)
    script.greet()
    began_s = script.now_s
    assert script.wait() == [AskForWebSocket()]
    assert script.now_s == began_s + WEBSOCKET_AGAIN_S
    assert script(WebSocketAsked(False)) == [Gather(False)]
    assert script.give() == []
    assert script.wait() == [AskForWebSocket()]
    assert script(WebSocketAsked(True)) == [Disconnect(), GiveWay()]


def test_a_backend_that_hangs_when_it_is_asked_holds_up_neither_the_posts_nor_the_end() -> None:
    script = Script(may_change=True)
    script.greet()
    assert script.wait() == [AskForWebSocket()]
    asked_s = script.now_s
    assert script.wait() == [Disconnect(), Gather(False)]
    assert script.now_s == asked_s + CONNECT_TIMEOUT_S
    script.give()
    assert script.wait() == [AskForWebSocket()]
    assert script(FinishRequested(script.now_s + 10)) == [Disconnect(), Gather(True)]
    assert script(WebSocketAsked(True)) == [], "an answer that comes too late"


@pytest.mark.parametrize("status", [404, 405, 426, 501])
def test_where_no_posts_are_taken_any_more_a_websocket_is_asked_for_before_the_next(
    status: int,
) -> None:
    """The backend may have been upgraded under it, to one that knows nothing of posts."""
    script = Script(may_change=True)
    post = script.post(entry(0))
    script.answer(status)
    assert script.wait() == [AskForWebSocket()]
    assert script(WebSocketAsked(False)) == [post]
    script.answer(status)
    assert script.wait() == [AskForWebSocket()]
    assert script(WebSocketAsked(True)) == [Disconnect(), GiveWay()]


def test_the_websocket_is_asked_for_though_what_waits_is_not_taken() -> None:
    script = Script(may_change=True)
    script.post(entry(0))
    began_s = script.now_s
    script.answer(503)
    while script.wait() != [AskForWebSocket()]:
        script.answer(503)
        assert script.now_s < began_s + WEBSOCKET_AGAIN_S + 60


def test_a_busy_stream_asks_between_two_posts() -> None:
    script = Script(may_change=True)
    script.post(*entries(0, 500))
    script.now_s += WEBSOCKET_AGAIN_S
    assert script.answer(204)[-1] == AskForWebSocket()


def test_a_leftover_gives_up_at_the_end_or_after_so_many_failures() -> None:
    script = Script(live=False, max_failures=2)
    assert script(DataCommitted(1)) == [Gather(True)]
    script.give(entry(0))
    assert script(Closed(LOST)) == [Disconnect()]
    script.wait()
    assert script(Closed(LOST))[-1] == Finish(False)
    script = Script(live=False)
    script(DataCommitted(1))
    script.give(entry(0))
    script(FinishRequested(script.now_s + 10))
    assert script(Closed(LOST))[-1] == Finish(False)
