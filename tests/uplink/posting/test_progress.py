"""What a successor is told of how far the posts have come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.uplink.posting.lines import Line
from ptyshipper.uplink.posting.progress import SIZE_BYTES, Progress, decode

OFFSETS = st.integers(0, 2**63)


@given(OFFSETS, st.tuples(*[OFFSETS] * 4), st.integers(-1, 2**60), st.integers(0, 15))
def test_it_is_read_as_it_was_written(
    offset: int, ends: tuple[int, ...], last_ms: int, bits: int
) -> None:
    progress = Progress(offset, ends, last_ms, bits, bits)
    assert len(progress.encode()) == SIZE_BYTES
    assert decode(progress.encode()) == progress


@pytest.mark.parametrize("at", range(SIZE_BYTES))
def test_what_was_damaged_counts_as_nothing(at: int) -> None:
    data = bytearray(Progress(5, (6, 7, 8, 9), 10, 1, 2).encode())
    data[at] ^= 0x10
    assert decode(bytes(data)) == Progress()
    assert decode(bytes(data[:at])) == Progress()


def test_what_another_way_delivered_is_not_posted() -> None:
    progress = Progress(100, (90, 250, 0, 0), 5)
    assert progress.at_least(100) == progress
    assert progress.at_least(200) == Progress(200, (200, 250, 200, 200), 5)


def line(source: int, end: int, *, is_whole: bool = True) -> Line:
    return Line(0, source, "", is_whole, end, end - 10)


def test_the_last_line_of_each_stream_tells_how_far_it_is_done_with() -> None:
    lines = [line(0, 100), line(1, 120), line(0, 140, is_whole=False), line(3, 130)]
    assert Progress().beyond(lines) == Progress(130, (140, 120, 0, 130), -1, 0b0001)
    assert Progress(130, (140, 120, 0, 130), -1, 0b0001).beyond([line(0, 150)]).open_lines == 0


def test_what_is_done_with_late_takes_nothing_back() -> None:
    """A line that was put aside, when those behind it were taken."""
    progress = Progress().beyond([line(0, 100), line(1, 120, is_whole=False)])
    assert progress.beyond([line(0, 50, is_whole=False), line(1, 60)]) == progress
