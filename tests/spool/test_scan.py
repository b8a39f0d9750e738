"""The fast loop finds exactly what ``records.check`` finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.errors import RecordError
from ptyshipper.records import Kind
from ptyshipper.spool.scan import Search, scan

OUTPUT = st.builds(
    records.encode,
    st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.TTY]),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=1, max_size=40),
)
OTHER = st.sampled_from(
    [
        records.encode(Kind.RESIZED, 5, records.resized(80, 24)),
        records.encode(Kind.SIGNALLED, 6, records.signalled(15)),
        records.encode(Kind.EXITED, 7, records.exited(0, 0, False)),
        records.encode(Kind.GAP, 8, records.gap(1, 1, records.GapCause.OVERFLOW)),
        records.encode(Kind.STDOUT, 9, b""),
        records.encode(9, 9, b"x"),
    ]
)


def slow_scan(buffer: bytes, max_records: int) -> tuple[int, int, int]:
    at = count = output_bytes = 0
    while at < len(buffer) and count < max_records:
        try:
            kind, size = records.check(buffer, at)
        except RecordError:
            break
        if kind == Kind.GAP:
            break
        output_bytes += size - records.HEADER_BYTES if kind in records.OUTPUT_KINDS else 0
        at, count = at + size, count + 1
    return at, count, output_bytes


@given(st.lists(st.one_of(OUTPUT, OTHER)), st.integers(0, 30), st.integers(0, 300), st.binary())
def test_as_check_does(parts: list[bytes], max_records: int, at: int, noise: bytes) -> None:
    whole = b"".join(parts)
    for buffer in (whole, whole[:at], whole[:at] + noise + whole[at:]):
        found = scan(buffer, max_records)
        assert (found.end, found.record_count, found.output_bytes) == slow_scan(buffer, max_records)


def test_the_last_record_is_told_of() -> None:
    buffer = records.encode(Kind.STDOUT, 1, b"x") + records.encode(
        Kind.EXITED, 2, records.exited(0, 0, False)
    )
    found = scan(buffer + b"torn", 1024)
    assert (found.end, found.kind, found.time_us) == (36, Kind.EXITED, 2)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(1, 40))
def test_a_record_is_found_wherever_it_begins(before: bytes, behind: bytes, size: int) -> None:
    record = records.encode(Kind.TTY, 5, b"x" * size)
    found = Search(5, None, 2**20).find(before + record + behind)
    assert 0 <= found <= len(before)
    assert scan(before[found:] + record + behind, 1).record_count == 1


def test_a_record_of_another_time_or_cut_short_is_not_found() -> None:
    record = records.encode(Kind.TTY, 5, b"x")
    assert Search(6, None, 2**20).find(record) == -1
    assert Search(0, 4, 2**20).find(record) == -1
    assert Search(0, None, 2**20).find(record[:-1]) == -1
    assert Search(5, 5, 2**20).find(record) == 0
