"""The way to a container's end, by scripts of events."""

from __future__ import annotations

from ptyshipper.repro.container import PreStop
from ptyshipper.repro.stop import Do, Stop, StopKeys

HOOK = PreStop(command=("drain",))


def test_the_signal_then_the_time_then_kill() -> None:
    stop = Stop(None, 30, 2)
    assert stop.deadline_s is None
    assert stop.ask(100) == [Do.SIGNAL]
    assert stop.deadline_s == 130
    assert stop.tick(129.9) == []
    assert stop.tick(130) == [Do.KILL]
    assert stop.tick(131) == []
    assert stop.deadline_s is None


def test_nobody_asks_and_nothing_happens() -> None:
    assert Stop(HOOK, 30, 2).tick(1e9) == []


def test_pre_stop_is_within_the_grace_period() -> None:
    stop = Stop(HOOK, 30, 2)
    assert stop.ask(100) == [Do.RUN_PRE_STOP]
    assert stop.pre_stop_ended(110) == [Do.SIGNAL]
    assert stop.deadline_s == 130
    assert stop.pre_stop_ended(111) == []
    assert stop.tick(130) == [Do.KILL]


def test_a_pre_stop_that_takes_it_all_leaves_the_least() -> None:
    stop = Stop(HOOK, 30, 2)
    stop.ask(100)
    assert stop.tick(130) == [Do.SIGNAL]
    assert stop.deadline_s == 132
    assert stop.pre_stop_ended(131) == []
    assert stop.tick(132) == [Do.KILL]


def test_a_pre_stop_that_sleeps() -> None:
    stop = Stop(PreStop(sleep_s=5), 30, 2)
    assert stop.ask(100) == []
    assert stop.deadline_s == 105
    assert stop.tick(105) == [Do.SIGNAL]
    assert stop.deadline_s == 130


def test_a_sleep_beyond_the_grace_period_is_cut_off() -> None:
    stop = Stop(PreStop(sleep_s=50), 10, 2)
    stop.ask(100)
    assert stop.tick(110) == [Do.SIGNAL]
    assert stop.deadline_s == 112


def test_no_grace_at_all_is_dockers_zero() -> None:
    stop = Stop(None, 0, 0)
    assert stop.ask(100) == [Do.SIGNAL]
    assert stop.tick(100) == [Do.KILL]


def test_who_asks_again_is_impatient() -> None:
    for asked in (Stop(None, 30, 2), Stop(HOOK, 30, 2)):
        asked.ask(100)
        assert asked.ask(101) == [Do.KILL]
        assert asked.ask(102) == []
        assert asked.pre_stop_ended(103) == []


def test_two_keys_within_a_second() -> None:
    keys = StopKeys()
    assert not keys.pressed(1, 10.0)
    assert not keys.pressed(1, 11.5)
    assert keys.pressed(1, 12.5)
    assert not keys.pressed(1, 12.6)
    assert keys.pressed(2, 12.7)


def test_two_at_once_are_two() -> None:
    assert StopKeys().pressed(2, 0)
    assert StopKeys().pressed(50, 0)
    assert not StopKeys().pressed(0, 0)
