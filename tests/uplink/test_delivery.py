"""The shell alone, around a core that only notes what it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from ptyshipper.spool.ledger import Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.spool.segment import Mark
from ptyshipper.uplink import delivery
from ptyshipper.uplink.attempts import FOREVER_S
from ptyshipper.uplink.consignment import Consignment, Plan
from ptyshipper.uplink.delivery import AttemptOver, Delivery
from ptyshipper.uplink.events import DataCommitted, FinishRequested, Ticked
from ptyshipper.wire.messages import ByeReason

HEAD = 500


class NotingCore:
    """``answers`` are the commands for the events to come, then none."""

    def __init__(self) -> None:
        self.timer_s = FOREVER_S
        self.told: list[object] = []
        self.answers: list[list[Callable[[], None]]] = []

    def handle(self, event: object, now_s: float) -> list[Callable[[], None]]:
        self.told.append(event)
        return self.answers.pop(0) if self.answers else []


class Carrier(Delivery[object, Callable[[], None]]):
    """A command is a function that it calls."""

    _core: NotingCore

    def _carry_out(self, command: Callable[[], None]) -> None:
        command()

    def _turn(self) -> None:
        self._is_finished = True


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    ledger = Ledger()
    ledger.head = Mark(HEAD, 0, 0)
    plan = Plan(True, ByeReason.ENDED, 2**20, 0, None, None)
    carrier = Carrier(Consignment(b"", {}, ledger, -1, plan, Notes(None)), NotingCore())
    yield carrier
    carrier._close()


@pytest.fixture
def silent_fd() -> Iterator[int]:
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


def test_it_begins_with_what_there_is_and_the_first_attempt() -> None:
    ledger = Ledger()
    plan = Plan(True, ByeReason.ENDED, 2**20, 0, None, None)
    carrier = Carrier(Consignment(b"", {}, ledger, -1, plan, Notes(None)), NotingCore())
    carrier.run()
    assert carrier._core.told == [DataCommitted(0), Ticked()]


def test_what_a_command_brings_is_told_after_the_others(carrier: Carrier) -> None:
    order: list[str] = []
    carrier._core.answers = [[lambda: carrier._handle("second"), lambda: order.append("done")]]
    carrier._handle("first")
    assert (carrier._core.told, order) == (["first", "second"], ["done"])


def test_who_waits_hears_of_the_end_and_of_the_last_record_before_it(
    carrier: Carrier, silent_fd: int
) -> None:
    carrier.finish(7.0)
    carrier._core.answers = [[], [lambda: setattr(carrier, "_is_finished", True)]]
    with pytest.raises(AttemptOver):
        carrier._wait(silent_fd, False, FOREVER_S)
    assert carrier._core.told == [DataCommitted(HEAD), FinishRequested(7.0)]


def test_who_waits_is_told_that_the_core_gave_it_up(carrier: Carrier, silent_fd: int) -> None:
    carrier._core.timer_s = 0.0
    carrier._core.answers = [[lambda: setattr(carrier, "_is_attempt_over", True)]]
    with pytest.raises(AttemptOver):
        carrier._wait(silent_fd, False, FOREVER_S)
    assert carrier._core.told == [Ticked()]


def test_a_share_of_the_time_is_not_exceeded(
    carrier: Carrier, silent_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the first of several addresses would leave nothing for the others."""
    monkeypatch.setattr(delivery, "CONNECT_TIMEOUT_S", 0.02)
    with pytest.raises(TimeoutError):
        carrier._wait(silent_fd, False, 0.5)


def test_what_can_be_read_ends_the_wait_and_may_be_waited_for_again(carrier: Carrier) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    for _ in range(2):
        carrier._wait(reading, False, FOREVER_S)
    carrier._wait(writing, True, FOREVER_S)
    assert carrier._core.told == []
    os.close(reading)
    os.close(writing)
