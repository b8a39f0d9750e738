"""A comparison, in words for a person: what is the same, what differs first and where. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ptyshipper.printed import text
from ptyshipper.printed.signals import signal_name
from ptyshipper.records import Exited
from ptyshipper.repro.compare import Comparison, Difference, StreamComparison
from ptyshipper.repro.timeline import TOLERANCE_US

_BEFORE_BYTES, _BEHIND_BYTES = 40, 80
"""So much of a line is shown around the place where it differs."""


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Line by line, each safe on a terminal."""
    one, other = comparison.recorded, comparison.repeated
    yield "as recorded" if not comparison.differs else "not as recorded"
    before, now = _ending(one.exited), _ending(other.exited)
    if comparison.status_differs:
        yield f"  exit    {now}, recorded {before}"
    elif one.exited is None:
        yield f"  exit    {now}; the recording was cut off before it"
    else:
        yield f"  exit    {now}"
    for stream in comparison.streams:
        yield from _stream_lines(stream)
    if one.lost_bytes:
        yield f"  lost    {one.lost_bytes} bytes of the recorded output were lost, so it can't be the same"
    yield f"  time    {other.exited_us / 1e6:.2f} s, recorded {one.exited_us / 1e6:.2f} s"
    if comparison.deviations:
        count, late = len(comparison.deviations), comparison.late
        within = f"within {TOLERANCE_US // 1000} ms of their moments"
        yield f"  events  {count - len(late)} of {count} resizes and signals came {within}"
        for deviation in late:
            at_s = deviation.moment.time_us / 1e6
            how = (
                "did not come"
                if deviation.late_us is None
                else f"came {deviation.late_us / 1e6:+.3f} s off"
            )
            yield f"          {deviation.moment.what} at {at_s:.3f} s {how}"


def _stream_lines(stream: StreamComparison) -> Iterator[str]:
    name = f"  {stream.name:<8}"
    first = stream.difference
    if first is None:
        yield f"{name}{stream.repeated_bytes} bytes, the same"
        return
    yield (
        f"{name}differs first in line {first.line}, column {first.column + 1} (offset {first.offset});"
        " --ignore REGEX leaves out what may differ"
    )
    yield f"          recorded {_around(first.recorded, first)}"
    yield f"          repeated {_around(first.repeated, first)}"


def _around(line: bytes | None, difference: Difference) -> str:
    """The part of a line where it differs, in quotes; what is left out at either side is an ellipsis."""
    if line is None:
        return "nothing: it ends before"
    begin = max(0, difference.column - _BEFORE_BYTES)
    end = difference.column + _BEHIND_BYTES
    shown = text.json_text(text.decoded(line[begin:end]))
    return f"{'…' * (begin > 0)}{shown}{'…' * (end < len(line))}"


def _ending(exited: Exited | None) -> str:
    if exited is None:
        return "unknown"
    if not exited.signal:
        return f"status {exited.code}"
    return signal_name(exited.signal)
