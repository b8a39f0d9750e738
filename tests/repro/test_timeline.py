"""Moments: which are done again, and how far off they came."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.records import Kind, Record, resized, signalled
from ptyshipper.repro.timeline import (
    Deviation,
    Moment,
    Resize,
    Signal,
    deviations,
    moment_of,
    playable,
)

BIG, TERM = Resize(50, 132), Signal(15)
MOMENTS = st.builds(Moment, st.integers(0, 10**9), st.sampled_from([BIG, TERM, Resize(24, 80)]))


def test_resizes_and_signals_are_moments() -> None:
    assert moment_of(Record(Kind.RESIZED, 7, resized(132, 50))) == Moment(7, BIG)
    assert moment_of(Record(Kind.SIGNALLED, 8, signalled(15))) == Moment(8, TERM)
    assert moment_of(Record(Kind.TTY, 9, b"x")) is None
    assert [str(one) for one in (BIG, TERM, Signal(200))] == [
        "resize to 132x50",
        "SIGTERM",
        "signal 200",
    ]


def test_what_nobody_could_send_is_left_out() -> None:
    """A file may say anything; SIGKILL would hit the wrapper itself."""
    numbers = (0, signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 200, signal.SIGTERM)
    moments = [Moment(5 - n, Signal(number)) for n, number in enumerate(numbers)]
    assert playable([*moments, Moment(3, BIG)]) == [Moment(0, Signal(15)), Moment(3, BIG)]


def test_each_is_found_again_in_its_order() -> None:
    recorded = [Moment(10, BIG), Moment(20, TERM), Moment(30, BIG)]
    repeated = [Moment(12, BIG), Moment(29, BIG)]
    assert deviations(recorded, repeated) == [
        Deviation(recorded[0], 2),
        Deviation(recorded[1], None),
        Deviation(recorded[2], -1),
    ]


@given(st.lists(MOMENTS, max_size=12), st.integers(0, 1_000))
def test_a_repetition_that_is_late_as_a_whole_is_late_everywhere(
    moments: list[Moment], late_us: int
) -> None:
    repeated = [moment._replace(time_us=moment.time_us + late_us) for moment in moments]
    assert [one.late_us for one in deviations(moments, repeated)] == [late_us] * len(moments)
