"""Job control's decisions. What a shell sees of them is in integration/test_terminal.py."""

from __future__ import annotations

import signal

import pytest

from ptyshipper.pump import job as job_module
from ptyshipper.pump.job import Job


class FakeProgram:
    """Remembers what is asked of it."""

    def __init__(self, *, shares_group: bool = False, begins_behind: bool = False) -> None:
        self.shares_group = shares_group
        self.monitor_pid = 0 if shares_group else 4711
        self.begins_behind = begins_behind
        self.is_stopped = False
        self.asked: list[object] = []

    def continue_job(self, *, in_foreground: bool) -> None:
        self.is_stopped = False
        self.asked.append(("continue", in_foreground))

    def set_winsize(self, winsize: bytes) -> bool:
        self.asked.append("size")
        return True


class FakeTerminal:
    """A terminal that is in the foreground as the test says."""

    def __init__(self, *, in_foreground: bool) -> None:
        self.foreground = in_foreground
        self.is_raw = False
        self.restored = 0

    def in_foreground(self) -> bool:
        return self.foreground

    def make_raw(self) -> bytes:
        self.is_raw = self.foreground
        return b"typed" if self.foreground else b""

    def restore(self) -> None:
        self.is_raw = False
        self.restored += 1

    def winsize(self) -> bytes:
        return bytes(8)


class Bench:
    """A job whose own stops are noted instead of done."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, program: FakeProgram, terminal: FakeTerminal | None
    ) -> None:
        self.typed: list[bytes] = []
        self.shown = 0
        self.stops: list[int] = []
        self.job = Job(program, terminal, self.typed.append, self._show)  # type: ignore[arg-type]
        monkeypatch.setattr(self.job, "_stop_ourselves", self.stops.append)

    def _show(self) -> None:
        self.shown += 1


@pytest.mark.parametrize("signo", [signal.SIGTTIN, signal.SIGTTOU])
def test_a_program_that_wants_the_terminal_gets_it_in_the_foreground(
    monkeypatch: pytest.MonkeyPatch, signo: int
) -> None:
    program, terminal = FakeProgram(begins_behind=True), FakeTerminal(in_foreground=True)
    bench = Bench(monkeypatch, program, terminal)
    bench.job.begin()
    assert not terminal.is_raw
    for _ in range(2):  # also the second time: sudo-rs#1598
        program.is_stopped = True
        bench.job.stopped(signo)
        assert terminal.is_raw
        assert program.asked[-1] == ("continue", True)
    assert bench.stops == []
    assert bench.typed[0] == b"typed"


@pytest.mark.parametrize("signo", [signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGSTOP])
def test_behind_the_foreground_we_stop_with_it(monkeypatch: pytest.MonkeyPatch, signo: int) -> None:
    program, terminal = FakeProgram(), FakeTerminal(in_foreground=False)
    bench = Bench(monkeypatch, program, terminal)
    program.is_stopped = True
    bench.job.stopped(signo)
    assert bench.stops == [signo]
    assert (terminal.restored, bench.shown) == (1, 1)
    assert program.asked == [("continue", False)]


def test_a_stop_by_key_restores_the_terminal_and_takes_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, terminal = FakeProgram(), FakeTerminal(in_foreground=True)
    bench = Bench(monkeypatch, program, terminal)
    bench.job.begin()
    program.is_stopped = True
    bench.job.stopped(signal.SIGTSTP)
    assert bench.stops == [signal.SIGTSTP]
    assert terminal.restored == 1
    assert terminal.is_raw
    assert program.asked == ["size", ("continue", True)]


def test_in_its_group_we_stop_for_the_keys_that_reached_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, FakeProgram(shares_group=True), None)
    bench.job.told_to_stop(signal.SIGTSTP, by_kernel=True)
    assert bench.stops == [signal.SIGTSTP]


def test_in_its_group_we_stop_for_a_signal_once_it_has_stopped_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, FakeProgram(shares_group=True), None)
    bench.job.told_to_stop(signal.SIGTSTP, by_kernel=False)
    assert bench.stops == []
    bench.job.stopped(signal.SIGTSTP)
    assert bench.stops == [signal.SIGTSTP]


def test_a_program_that_stops_itself_does_not_take_us_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who continues it does not know of us, and would leave us stopped for ever."""
    program = FakeProgram(shares_group=True)
    bench = Bench(monkeypatch, program, None)
    program.is_stopped = True
    bench.job.stopped(signal.SIGSTOP)
    assert bench.stops == []
    assert program.asked == []


def test_the_continue_of_our_own_stop_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(job_module, "monotonic", lambda: clock[0])
    program = FakeProgram(shares_group=True)
    bench = Bench(monkeypatch, program, None)
    assert not bench.job.took_continue()
    bench.job.told_to_stop(signal.SIGTSTP, by_kernel=True)
    assert bench.job.took_continue()
    assert not bench.job.took_continue(), "the next one is the program's"
    clock[0] += 10
    assert not bench.job.took_continue()


def test_a_stopped_program_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    program = FakeProgram(shares_group=True)
    bench = Bench(monkeypatch, program, None)
    program.is_stopped = True
    assert bench.job.took_continue()
    assert program.asked == [("continue", True)]
