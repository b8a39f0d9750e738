"""The walk over a batch: exactly what records.check accepts, added up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.digest import NO_LINE, NO_LINES, digest
from ptyshipper.errors import ProtocolError, RecordError
from ptyshipper.records import Exited, GapCause, Kind, encode
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import MAX_OFFSET
from tests.support.server import exit_record, output, start_record

KINDS = [Kind.STDOUT, Kind.STDERR, Kind.TTY]
OUTPUT = st.builds(
    encode,
    st.sampled_from(KINDS),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=1, max_size=60),
)


def gap(span: int, lost_bytes: int) -> bytes:
    return encode(Kind.GAP, 5, records.gap(span, lost_bytes, GapCause.OVERFLOW))


def refused(batch: bytes, offset: int = 0) -> CloseCode:
    with pytest.raises(ProtocolError) as caught:
        digest(batch, offset)
    assert "\n" not in caught.value.reason
    return CloseCode(caught.value.code)


@given(st.lists(OUTPUT, min_size=1, max_size=10), st.integers(0, 10**9))
def test_output_adds_up(parts: list[bytes], offset: int) -> None:
    """Bytes and newlines by stream, first and greatest time, the offset behind, lines begun."""
    found = digest(b"".join(parts), offset)
    decoded = [record for part in parts for record in records.decode(part)]
    assert found.end_offset == offset + sum(map(len, parts))
    assert found.output_bytes == sum(len(record.payload) for record in decoded)
    assert found.first_time_us == decoded[0].time_us
    assert found.last_time_us == max(record.time_us for record in decoded)
    assert found.entries == sum(record.payload.count(b"\n") for record in decoded)
    for kind, open_line in zip(KINDS, found.open_lines, strict=True):
        said = b"".join(record.payload for record in decoded if record.kind == kind)
        assert (open_line == NO_LINE) == (not said or said.endswith(b"\n"))


def test_open_line_is_where_it_began() -> None:
    """At the record with its first byte, of each stream by itself, over batches; an end completes it."""
    first = [output(b"a\nb"), output(b"c"), output(b"x", Kind.STDERR), output(b"done\n", Kind.TTY)]
    found = digest(b"".join(first), 100)
    assert found.open_lines == (100, 100 + sum(map(len, first[:2])), NO_LINE)
    assert found.entries == 2
    second = digest(output(b"d\ne") + output(b"y", Kind.STDERR), 500, found.open_lines)
    assert second.open_lines == (500, found.open_lines[1], NO_LINE)
    assert second.entries == 1
    for end in (exit_record(), gap(7, 3)):
        ended = digest(end, 600, second.open_lines)
        assert ended.open_lines == NO_LINES
        assert ended.entries == 3, "two lines and the event"


@given(st.lists(OUTPUT, max_size=4), st.binary(max_size=60))
def test_accepts_what_records_accept(parts: list[bytes], tail: bytes) -> None:
    """The written-out check and records.check never differ on bytes that may come from anywhere."""
    batch = b"".join(parts) + tail
    try:
        well_formed = bool(list(records.decode(batch))) or not batch
    except RecordError:
        well_formed = False
    if well_formed:
        digest(batch, 0)
    else:
        assert refused(batch) is CloseCode.RECORD


def test_batch_cut_or_damaged_anywhere_is_refused() -> None:
    """Lengths that lie are torn records; a flipped bit is found."""
    batch = start_record() + output(b"hello\n")
    boundary = len(start_record())
    for length in range(1, len(batch)):
        if length != boundary:
            assert refused(batch[:length]) is CloseCode.RECORD
    for at in range(len(batch)):
        assert refused(batch[:at] + bytes([batch[at] ^ 1]) + batch[at + 1 :]) is CloseCode.RECORD


def test_gap_moves_the_offset_by_its_span() -> None:
    """And is counted with what it lost."""
    found = digest(gap(4_096, 4_000) + output(b"x"), 100)
    assert found.end_offset == 100 + 4_096 + 17
    assert (found.gaps, found.lost_bytes) == (1, 4_000)


@pytest.mark.parametrize(("span", "lost_bytes"), [(0, 0), (10, 11)])
def test_gap_that_does_not_add_up_is_refused(span: int, lost_bytes: int) -> None:
    """It spans nothing, or lost more than it spans."""
    assert refused(gap(span, lost_bytes)) is CloseCode.RECORD


def test_offset_beyond_the_last_is_refused() -> None:
    """By size and by span; the last one itself is allowed."""
    assert refused(output(b"x"), MAX_OFFSET - 16) is CloseCode.RECORD
    assert refused(gap(2**64 - 1, 0)) is CloseCode.RECORD
    assert digest(gap(MAX_OFFSET, 0), 0).end_offset == MAX_OFFSET


def test_time_that_no_column_holds_is_refused() -> None:
    assert refused(output(b"x", time_us=2**63)) is CloseCode.RECORD


def test_exit_is_the_last_record() -> None:
    """It is reported with its time, and nothing may follow."""
    assert digest(exit_record(3, time_us=9), 0).exited == (Exited(3, 0, False), 9)
    assert refused(exit_record() + output(b"x")) is CloseCode.ENDED


def test_too_many_records_are_refused() -> None:
    """1,024 and not one more."""
    assert digest(output(b"x") * 1_024, 0).output_bytes == 1_024
    assert refused(output(b"x") * 1_025) is CloseCode.MALFORMED


def test_start_tells_the_window() -> None:
    assert digest(start_record(120, 40), 0).window == (120, 40)
    assert digest(output(b"x"), 0).window is None


def test_window_is_the_last_one_that_somebody_looks_at() -> None:
    sizes = ((100, 30), (90, 20), (0, 0))
    resizes = b"".join(encode(Kind.RESIZED, 1, records.resized(*size)) for size in sizes)
    assert digest(start_record(120, 40) + resizes, 0).window == (90, 20)
    assert digest(encode(Kind.RESIZED, 1, records.resized(0, 0)), 0).window is None


def test_signal_that_no_system_has_is_refused() -> None:
    """64 is the last real-time signal."""
    assert digest(exit_record(0, 64), 0).exited == (Exited(0, 64, False), 2_500_000)
    assert refused(exit_record(0, 65)) is CloseCode.RECORD
    forwarded = encode(Kind.SIGNALLED, 0, records.signalled(64))
    assert digest(forwarded, 0).end_offset == len(forwarded)
    assert refused(encode(Kind.SIGNALLED, 0, records.signalled(65))) is CloseCode.RECORD
