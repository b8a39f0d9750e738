"""What happened to a session's program and when: resizes and signals, to be done again. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ptyshipper.printed.signals import signal_name
from ptyshipper.records import Kind, Record, read_resized, read_signalled

TOLERANCE_US = 50_000
"""A moment that is repeated further off than this is named."""

_NOT_SENT = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})


class Resize(NamedTuple):
    """The terminal's size became this."""

    rows: int
    cols: int

    def __str__(self) -> str:
        return f"resize to {self.cols}x{self.rows}"


class Signal(NamedTuple):
    """The program was sent this signal."""

    number: int

    def __str__(self) -> str:
        return signal_name(self.number)


class Moment(NamedTuple):
    """What happened so long after the session's beginning."""

    time_us: int
    what: Resize | Signal


class Deviation(NamedTuple):
    """A moment of the recording, and by how much later the repetition had it; None: it had it not."""

    moment: Moment
    late_us: int | None


def moment_of(record: Record) -> Moment | None:
    """The moment that a record tells of, if any."""
    if record.kind == Kind.RESIZED:
        size = read_resized(record.payload)
        return Moment(record.time_us, Resize(size.rows, size.cols))
    if record.kind == Kind.SIGNALLED:
        return Moment(record.time_us, Signal(read_signalled(record.payload)))
    return None


def playable(moments: Iterable[Moment]) -> list[Moment]:
    """Those that can be done again, in the order of their times."""
    valid = signal.valid_signals() - _NOT_SENT
    return sorted(
        moment
        for moment in moments
        if isinstance(moment.what, Resize) or moment.what.number in valid
    )


def deviations(recorded: Sequence[Moment], repeated: Sequence[Moment]) -> list[Deviation]:
    """Each recorded moment beside the next equal one that was repeated."""
    found = []
    at = 0
    for moment in recorded:
        match = next((i for i in range(at, len(repeated)) if repeated[i].what == moment.what), None)
        if match is None:
            found.append(Deviation(moment, None))
        else:
            found.append(Deviation(moment, repeated[match].time_us - moment.time_us))
            at = match + 1
    return found
