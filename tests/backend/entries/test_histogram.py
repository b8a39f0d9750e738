"""Chunks to buckets: nothing is lost between them, whatever their times are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.entries.histogram import Bucket, Histogram
from ptyshipper.backend.store.base import Sketch

TIME = st.integers(0, 2**63 - 1)


def sketch(first_us: int, last_us: int, entries: int, size: int) -> Sketch:
    return Sketch(0, 1, first_us, last_us, 0, entries, size)


SKETCH = st.builds(
    lambda times, entries, size: sketch(min(times), max(times), entries, size),
    st.tuples(TIME, TIME),
    st.integers(0, 10**9),
    st.integers(1, 10**9),
)


def test_chunk_is_spread_over_its_time() -> None:
    """40 entries in 8 s, then 6 at once, in buckets of 5 s."""
    drawn = Histogram(0, 20, 4)
    drawn.add(sketch(0, 8, 40, 800))
    drawn.add(sketch(12, 12, 6, 60))
    assert drawn.buckets() == [
        Bucket(0, 500, 25),
        Bucket(5, 300, 15),
        Bucket(10, 60, 6),
        Bucket(15, 0, 0),
    ]


@given(st.lists(SKETCH, max_size=20), TIME, TIME, st.integers(1, 30))
def test_no_bucket_is_negative_and_none_makes_more(
    sketches: list[Sketch], begin_us: int, length_us: int, count: int
) -> None:
    """Also where times go back: a hostile session tells any."""
    drawn = Histogram(begin_us, begin_us + length_us, count)
    for each in sketches:
        drawn.add(each)
    buckets = drawn.buckets()
    assert len(buckets) == count
    assert all(bucket.entries >= 0 and bucket.record_bytes >= 0 for bucket in buckets)
    assert sum(bucket.entries for bucket in buckets) <= sum(each.end_entry for each in sketches)


@given(st.lists(SKETCH, min_size=1, max_size=20), st.integers(1, 30))
def test_whole_session_is_all_there(sketches: list[Sketch], count: int) -> None:
    drawn = Histogram(0, 2**63, count)
    for each in sorted(sketches, key=lambda each: each.first_time_us):
        drawn.add(each)
    assert sum(b.record_bytes for b in drawn.buckets()) == sum(s.record_bytes for s in sketches)
