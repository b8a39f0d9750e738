"""Scripts for the uplink's core: events in, commands out, at times that the test says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.uplink import core
from ptyshipper.uplink.attempts import Attempts
from ptyshipper.uplink.backoff import AttemptLimit, Backoff
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
    Warn,
)
from ptyshipper.uplink.consignment import Plan
from ptyshipper.uplink.core import Core, State
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
from ptyshipper.uplink.outcomes import Outcome, Trouble, of_close, of_status, of_trouble
from ptyshipper.uplink.pace import MAX_NAP_S
from ptyshipper.wire.messages import MAX_BATCH_BYTES, ByeReason

LOST = of_trouble(Trouble.LOST)
REFUSED = of_trouble(Trouble.UNREACHABLE, "connection refused")
WINDOW_BYTES = 4 * MAX_BATCH_BYTES


class Script:
    """A core and a clock; ``random`` always returns 1, so pauses are as long as they can be."""

    def __init__(
        self,
        live: bool = True,
        max_failures: int | None = None,
        may_post: bool = False,
        hindrance: str = "",
    ) -> None:
        bye = ByeReason.ENDED if live else ByeReason.CUT
        name = "host:80" if live else None
        plan = Plan(
            live, bye, WINDOW_BYTES, 0, max_failures, name, may_post=may_post, hindrance=hindrance
        )
        self.now_s = 1000.0
        self.core = Core(plan, Attempts(plan, Backoff(lambda: 1.0), AttemptLimit()), self.now_s)

    def __call__(self, event: Event) -> list[Command]:
        return self.core.handle(event, self.now_s)

    def wait(self) -> list[Command]:
        """Let time pass until the core wants to be told."""
        self.now_s = max(self.now_s, self.core.timer_s)
        return self(Ticked())

    def stream(self, offset: int = 0, committed: int = 0) -> list[Command]:
        """Connect, and be welcomed."""
        self(DataCommitted(committed))
        assert self.wait() == [Connect()]
        assert self(Connected()) == [SendHello()]
        return self(WelcomeReceived(offset, WINDOW_BYTES))


def test_a_session_from_start_to_bye() -> None:
    script = Script()
    assert script.stream() == [Release(0)]
    assert script(DataCommitted(48)) == [SendBatch(0)]
    assert script(BatchSent(48, 48, 2)) == []
    assert script(AckReceived(48)) == [Release(48)]
    assert script(DataCommitted(67)) == [SendBatch(48)]
    assert script(BatchSent(67, 19, 1)) == []
    assert script(FinishRequested(script.now_s + 10)) == []
    assert script(AckReceived(67)) == [Release(67), SendBye(ByeReason.ENDED), Finish(True)]
    assert script.core.state is State.ENDED
    assert script(AckReceived(67)) == []


@pytest.mark.parametrize("ending", [False, True])
def test_an_endpoint_without_a_websocket_gets_posts_where_it_may(ending: bool) -> None:
    script = Script(may_post=True)
    assert script.wait() == [Connect()]
    if ending:
        script(FinishRequested(script.now_s + 10))
    assert script(Closed(of_status(405))) == [Disconnect(), GiveWay()]
    assert script.core.state is State.ENDED


def test_where_posts_can_t_be_made_the_warning_says_why() -> None:
    script = Script(hindrance=", and posts need a deployment id")
    script.wait()
    (_, warning) = script(Closed(of_status(405)))
    assert isinstance(warning, Warn)
    assert "no WebSocket (HTTP 405), and posts need a deployment id; will try" in warning.text
    assert script.core.timer_s >= script.now_s + 60


def test_what_was_acknowledged_before_the_finish_ends_at_once() -> None:
    script = Script()
    script.stream(48, 48)
    assert script(FinishRequested(script.now_s + 10))[-1] == Finish(True)


def test_small_batches_gather_while_one_is_unacknowledged() -> None:
    script = Script()
    script.stream()
    script(DataCommitted(100))
    script(BatchSent(100, 100, 1))
    assert script(DataCommitted(500)) == []
    assert script.core.wake_at_offset == 100 + MAX_BATCH_BYTES
    assert script(DataCommitted(100 + MAX_BATCH_BYTES)) == [SendBatch(100)]
    script(BatchSent(100 + MAX_BATCH_BYTES, MAX_BATCH_BYTES, 2))
    script(DataCommitted(200 + MAX_BATCH_BYTES))
    assert script(AckReceived(100)) == [Release(100)]
    assert script(AckReceived(100 + MAX_BATCH_BYTES))[-1] == SendBatch(100 + MAX_BATCH_BYTES)


def test_an_idle_stream_wants_the_next_byte() -> None:
    script = Script()
    script.stream(10, 10)
    assert script.core.wake_at_offset == 11


def test_the_window_bounds_what_is_unacknowledged() -> None:
    script = Script()
    assert script.stream(0, 2**30)[-1] == SendBatch(0)
    sent = 0
    for _ in range(3):
        sent += MAX_BATCH_BYTES
        assert script(BatchSent(sent, MAX_BATCH_BYTES, 1)) == [SendBatch(sent)]
    sent += MAX_BATCH_BYTES
    assert script(BatchSent(sent, MAX_BATCH_BYTES, 1)) == []
    assert script.core.wake_at_offset == core.NEVER
    assert script(AckReceived(MAX_BATCH_BYTES))[-1] == SendBatch(sent)


def test_a_gap_counts_for_its_bytes_not_for_its_span() -> None:
    script = Script()
    script.stream(0, 2**30)
    assert script(BatchSent(2**29, 33, 1)) == [SendBatch(2**29)]


def test_a_window_smaller_than_a_record_still_lets_one_through() -> None:
    script = Script()
    script(DataCommitted(2**20))
    script.wait()
    script(Connected())
    assert script(WelcomeReceived(0, 1))[-1] == SendBatch(0)
    assert script(BatchSent(65_536, 65_536, 1)) == []
    assert script(AckReceived(65_536))[-1] == SendBatch(65_536)


def test_nothing_is_sent_while_the_network_has_not_taken_the_last_batch() -> None:
    script = Script()
    script.stream(0, 2**20)
    assert script(DataCommitted(2**21)) == []
    assert script.core.wake_at_offset == core.NEVER


def test_heartbeat_after_twenty_seconds_and_no_timer_before() -> None:
    script = Script()
    script.stream(7, 7)
    start_s = script.now_s
    assert script.core.timer_s == start_s + 20
    assert script.wait() == [SendHeartbeat(7)]
    script(AckReceived(7))
    assert script.wait() == [SendHeartbeat(7)]
    assert script.now_s == start_s + 40


def test_silence_after_a_batch_reconnects_after_fifteen_seconds() -> None:
    script = Script()
    script.stream()
    script(DataCommitted(9))
    script(BatchSent(9, 9, 1))
    start_s = script.now_s
    assert script.wait()[0] == Disconnect()
    assert script.now_s == start_s + 15


def test_silence_after_a_heartbeat_reconnects() -> None:
    script = Script()
    script.stream()
    start_s = script.now_s
    script.wait()
    assert script.wait()[0] == Disconnect()
    assert script.now_s == start_s + 35


def test_silence_while_the_network_takes_nothing_reconnects() -> None:
    script = Script()
    script.stream(0, 2**20)
    start_s = script.now_s
    assert script.wait()[0] == Disconnect()
    assert script.now_s == start_s + 15


def test_an_ack_in_time_keeps_the_connection() -> None:
    script = Script()
    script.stream(0, 2**20)
    script(BatchSent(65_536, 65_536, 1))
    script.now_s += 14
    script(AckReceived(65_536))
    script.now_s += 14
    assert script(Ticked()) == []


@pytest.mark.parametrize("welcomed", [False, True])
def test_a_backend_that_does_not_answer_is_given_ten_seconds(welcomed: bool) -> None:
    script = Script()
    script.wait()
    if welcomed:
        script(Connected())
    start_s = script.now_s
    assert script.wait()[0] == Disconnect()
    assert script.now_s == start_s + 10


def test_a_new_connection_goes_on_where_the_backend_is() -> None:
    script = Script()
    script.stream(0, 300)
    script(BatchSent(300, 300, 3))
    script(Closed(LOST))
    assert script.stream(200, 300) == [Release(200), SendBatch(200)]


def test_a_backend_that_lost_its_last_second_gets_it_again() -> None:
    script = Script()
    script.stream(0, 300)
    script(BatchSent(300, 300, 3))
    script(AckReceived(300))
    script(Closed(LOST))
    assert script.stream(100, 300)[-1] == SendBatch(100)


def test_pauses_grow_until_something_is_acknowledged() -> None:
    """A connection that is accepted, or a WELCOME, proves nothing."""
    script = Script()
    pauses_s = []
    for _ in range(4):
        script.stream(0, 100)
        script(Closed(LOST))
        pauses_s.append(script.core.timer_s - script.now_s)
    assert pauses_s == [0.5, 1, 2, 4]
    script.stream(0, 100)
    script(BatchSent(100, 100, 1))
    script(AckReceived(100))
    script(Closed(LOST))
    assert script.core.timer_s - script.now_s == 0.5


ASKED_TO_WAIT = [
    of_status(429, 120.0),
    of_status(503, 120.0),
    of_close(4429, "; retry after 120 s"),
]


@pytest.mark.parametrize("outcome", ASKED_TO_WAIT)
def test_who_is_asked_to_wait_does_and_then_its_own_pause(outcome: Outcome) -> None:
    script = Script()
    script.wait()
    script(Closed(outcome))
    assert script.core.timer_s == script.now_s + 120 + 0.5


@pytest.mark.parametrize("outcome", [of_status(401), of_status(404), of_close(4401)])
def test_what_somebody_must_mend_is_tried_slowly(outcome: Outcome) -> None:
    script = Script()
    script.wait()
    script(Closed(outcome))
    assert script.core.timer_s == script.now_s + 120


@given(seed=st.integers(0, 2**32), stage=st.sampled_from(["connect", "hello", "stream"]))
def test_at_most_twenty_attempts_a_minute_whatever_the_backend_does(seed: int, stage: str) -> None:
    source = random.Random(seed)
    plan = Plan(True, ByeReason.ENDED, WINDOW_BYTES, 0, None, None)
    machine = Core(plan, Attempts(plan, Backoff(source.random), AttemptLimit()), 0.0)
    now_s, attempts_s = 0.0, []
    machine.handle(DataCommitted(10**9), now_s)
    acked = 0
    while now_s < 300:
        now_s = max(now_s, machine.timer_s)
        if Connect() not in machine.handle(Ticked(), now_s):
            continue
        attempts_s.append(now_s)
        if stage != "connect":
            machine.handle(Connected(), now_s)
        if stage == "stream":
            # The worst: it acknowledges, so that the backoff is reset, and closes.
            machine.handle(WelcomeReceived(acked, 2**20), now_s)
            acked += 100
            machine.handle(BatchSent(acked, 100, 1), now_s)
            machine.handle(AckReceived(acked), now_s)
        machine.handle(Closed(LOST), now_s)
    for index, first_s in enumerate(attempts_s[20:]):
        assert first_s - attempts_s[index] > 60 - 1e-6


def test_one_warning_per_cause() -> None:
    script = Script()
    warnings = []
    for outcome in (REFUSED, REFUSED, of_status(503), REFUSED, of_status(503)):
        script.wait()
        warnings += [c for c in script(Closed(outcome)) if isinstance(c, Warn)]
    assert [warning.text for warning in warnings] == [
        "can't ship to host:80: connection refused; retrying; the program is not affected",
        "can't ship to host:80: the backend is not available (HTTP 503); retrying; "
        "the program is not affected",
    ]


def test_a_connection_that_is_lost_once_is_no_news() -> None:
    script = Script()
    script.stream(0, 100)
    script(BatchSent(100, 100, 1))
    assert script(Closed(of_close(1012))) == [Disconnect()], "not acknowledged, but welcome"
    script.wait()
    assert isinstance(script(Closed(REFUSED))[-1], Warn)


@pytest.mark.parametrize("code", [4409, 4410])
def test_a_session_that_another_delivers_is_given_up(code: int) -> None:
    script = Script()
    script.stream(0, 100)
    commands = script(Closed(of_close(code)))
    assert [type(command) for command in commands] == [Disconnect, Warn, Finish]
    assert commands[-1] == Finish(False)


def test_a_backend_that_holds_more_than_there_is_is_given_up() -> None:
    script = Script()
    assert script.stream(101, 100)[-1] == Finish(False)


@pytest.mark.parametrize("offset", [51, 2**62])
def test_an_ack_of_what_was_never_sent_breaks_the_protocol(offset: int) -> None:
    script = Script()
    script.stream(0, 100)
    script(BatchSent(50, 50, 1))
    assert script(AckReceived(offset))[0] == Disconnect()


def test_finish_goes_on_until_the_deadline() -> None:
    script = Script()
    script.stream(0, 100)
    script(BatchSent(100, 100, 1))
    deadline_s = script.now_s + 10
    assert script(FinishRequested(deadline_s)) == []
    commands = script.wait()
    assert script.now_s == deadline_s
    assert commands[0] == SendBye(ByeReason.LEAVING)
    assert isinstance(commands[1], Warn)
    assert commands[2] == Finish(False)


def test_finish_with_nothing_wrong_but_time_hurries_the_next_attempt() -> None:
    script = Script()
    for _ in range(8):
        script.wait()
        script(Closed(REFUSED))
    assert script.core.timer_s >= script.now_s + 30
    script(FinishRequested(script.now_s + 10))
    assert script.core.timer_s <= script.now_s + 1
    assert script.wait() == [Connect()]
    script(Closed(REFUSED))
    assert script.core.timer_s <= script.now_s + 1


def test_finish_while_somebody_must_mend_something_ends_at_once() -> None:
    script = Script()
    script.wait()
    script(Closed(of_status(401)))
    assert script(FinishRequested(script.now_s + 10)) == [Finish(False)]


def test_a_failure_that_does_not_pass_ends_the_finish() -> None:
    script = Script()
    script.wait()
    script(FinishRequested(script.now_s + 10))
    assert script(Closed(of_status(403)))[-1] == Finish(False)


def test_finish_waits_as_long_as_was_asked_for_and_ends_where_that_is_beyond_the_deadline() -> None:
    script = Script()
    script.wait()
    script(Closed(of_status(429, 7.0)))
    asked_s = script.now_s
    script(FinishRequested(script.now_s + 10))
    assert script.wait() == [Connect()]
    assert script.now_s == asked_s + 7
    assert script(Closed(of_status(429, 7.0)))[-1] == Finish(False)
    script = Script()
    script.wait()
    script(Closed(of_status(429, 60.0)))
    assert script(FinishRequested(script.now_s + 10))[-1] == Finish(False)


def test_a_leftover_ends_when_everything_is_acknowledged() -> None:
    script = Script(live=False)
    assert script.stream(0, 100) == [Release(0), SendBatch(0)]
    script(BatchSent(100, 100, 1))
    assert script(AckReceived(100)) == [Release(100), SendBye(ByeReason.CUT), Finish(True)]


@pytest.mark.parametrize("offset", [100, 150])
def test_a_leftover_that_the_backend_has_already_is_done(offset: int) -> None:
    script = Script(live=False)
    assert script.stream(offset, 100)[-2:] == [SendBye(ByeReason.CUT), Finish(True)]


def test_a_leftover_makes_way_after_some_failures_and_warns_of_none() -> None:
    script = Script(live=False, max_failures=3)
    commands: list[Command] = []
    for _ in range(3):
        script.wait()
        commands += script(Closed(REFUSED))
    assert commands == [Disconnect(), Disconnect(), Disconnect(), Finish(False)]


def test_a_leftover_that_fails_while_the_wrapper_ends_is_left() -> None:
    script = Script(live=False)
    script.stream(0, 100)
    script(FinishRequested(script.now_s + 10))
    assert script(Closed(LOST))[-1] == Finish(False)


def feed(script: Script, records_per_s: int, seconds: float) -> list[float]:
    """Single records at a steady rate, acknowledged at once; how long each waited, in seconds."""
    waits_s, start_s, size = [], script.now_s, 116
    committed = sent = 0
    for index in range(int(records_per_s * seconds)):
        arrival_s = start_s + index / records_per_s
        committed = (index + 1) * size
        while script.core.nap_until_s <= arrival_s and sent < committed - size:
            script.now_s = max(script.now_s, script.core.nap_until_s)
            commands = script(DataCommitted(committed - size))
            assert SendBatch(sent) in commands
            count = (committed - size - sent) // size
            waits_s += [
                script.now_s - start_s - (sent // size + n) / records_per_s for n in range(count)
            ]
            sent = committed - size
            script(BatchSent(sent, count * size, count))
            script(AckReceived(sent))
        script.now_s = max(script.now_s, arrival_s)
        if SendBatch(sent) in script(DataCommitted(committed)):
            waits_s.append(script.now_s - arrival_s)
            sent = committed
            script(BatchSent(sent, size, 1))
            script(AckReceived(sent))
    return waits_s


@pytest.mark.parametrize("records_per_s", [1, 10, 50, 100, 150])
def test_a_quiet_stream_never_waits(records_per_s: int) -> None:
    script = Script()
    script.stream()
    assert max(feed(script, records_per_s, 2)) == 0


def test_a_busy_stream_takes_naps_of_bounded_length() -> None:
    script = Script()
    script.stream()
    waits_s = feed(script, 2000, 2)
    assert MAX_NAP_S / 2 < max(waits_s) <= MAX_NAP_S + 0.001


def test_a_full_batch_does_not_wait_for_the_nap_to_end() -> None:
    script = Script()
    script.stream()
    feed(script, 2000, 1)
    offset = 2000 * 116 * 2
    assert isinstance(script(DataCommitted(offset + MAX_BATCH_BYTES))[-1], SendBatch)


def test_a_finish_ends_the_nap() -> None:
    script = Script()
    script.stream()
    feed(script, 2000, 1)
    assert isinstance(script(FinishRequested(script.now_s + 10))[-1], SendBatch)
    assert script.core.nap_until_s == 0


@given(
    st.lists(
        st.one_of(
            st.just(Connected()),
            st.just(Ticked()),
            st.builds(WelcomeReceived, st.integers(0, 2000), st.integers(0, 2**20)),
            st.builds(AckReceived, st.integers(0, 2000)),
            st.builds(BatchSent, st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 9)),
            st.sampled_from([Closed(LOST), Closed(of_status(401)), Closed(of_close(4409))]),
            st.builds(FinishRequested, st.floats(0, 2000)),
        ),
        max_size=60,
    )
)
def test_no_order_of_events_breaks_it(events: list[Event]) -> None:
    """After Finish comes nothing, and a timer never stays in the past."""
    script = Script()
    script(DataCommitted(1000))
    finished = False
    for event in events:
        commands = script(event)
        assert not (finished and commands)
        finished = finished or any(isinstance(command, Finish) for command in commands)
        for _ in range(3):
            if script.core.timer_s <= script.now_s:
                commands = script(Ticked())
                finished = finished or any(isinstance(c, Finish) for c in commands)
        assert script.core.timer_s > script.now_s
        script.now_s += 0.5


def test_in_a_nap_the_first_record_to_come_wakes_nobody() -> None:
    """Or each nap would be ended by the next small record, as it may be on a quiet stream."""
    script = Script()
    script.stream()
    size = 5_000
    for n in range(1, 40):  # 500 kB a second: naps have grown to their longest
        script.now_s = max(script.now_s + 0.01, script.core.nap_until_s)
        assert script(DataCommitted(n * size)) == [SendBatch((n - 1) * size)]
        script(BatchSent(n * size, size, 1))
        script(AckReceived(n * size))
    assert script.core.wake_at_offset == 39 * size + MAX_BATCH_BYTES
    script.now_s = script.core.nap_until_s
    script(DataCommitted(39 * size))
    assert script.core.wake_at_offset == 39 * size + 1
