"""Records: what is encoded is what is decoded, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.errors import RecordCorrupt, RecordError, RecordTruncated
from ptyshipper.records import GapCause, Kind, Record

U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U64 = st.integers(0, 2**64 - 1)

OUTPUT = st.tuples(
    st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.TTY]), st.binary(min_size=1, max_size=300)
)
ANY = st.one_of(
    OUTPUT,
    st.builds(records.started, U64, U16, U16, U8).map(lambda payload: (Kind.STARTED, payload)),
    st.builds(records.resized, U16, U16).map(lambda payload: (Kind.RESIZED, payload)),
    st.builds(records.signalled, U8).map(lambda payload: (Kind.SIGNALLED, payload)),
    st.builds(records.exited, U8, U8, st.booleans()).map(lambda payload: (Kind.EXITED, payload)),
    st.builds(records.gap, U64, U64, st.sampled_from(GapCause)).map(
        lambda payload: (Kind.GAP, payload)
    ),
)
RECORDS = st.lists(
    st.tuples(ANY, U64).map(lambda pair: Record(*pair[0][:1], pair[1], pair[0][1])), max_size=8
)


def encoded(items: list[Record]) -> bytes:
    return b"".join(records.encode(item.kind, item.time_us, item.payload) for item in items)


@given(RECORDS)
def test_decoding_gives_back_what_was_encoded(items: list[Record]) -> None:
    """Any sequence of records survives; a memoryview is as good as bytes."""
    data = encoded(items)
    assert list(records.decode(data)) == items
    assert list(records.decode(memoryview(data))) == items
    assert sum(item.size for item in items) == len(data)


@given(U64, U16, U16, U8)
def test_payloads_read_back(wall_us: int, cols: int, rows: int, number: int) -> None:
    """Each payload's reader is the inverse of its writer."""
    assert records.read_started(records.started(wall_us, cols, rows, number)) == (
        wall_us,
        cols,
        rows,
        number,
    )
    assert records.read_resized(records.resized(cols, rows)) == (cols, rows)
    assert records.read_signalled(records.signalled(number)) == number
    assert records.read_exited(records.exited(number, 255 - number, True)) == (
        number,
        255 - number,
        True,
    )
    assert records.read_gap(records.gap(wall_us, cols, GapCause.CORRUPT)) == (wall_us, cols, 2)


def test_record_cut_at_any_byte_is_truncated() -> None:
    """A torn tail is told from damage at each length, and the records before it are given."""
    first, second = encoded([Record(2, 5, b"hello")]), encoded([Record(4, 6, b"world")])
    for length in range(1, len(second)):
        decoding = records.decode(first + second[:length])
        assert next(decoding).payload == b"hello"
        with pytest.raises(RecordTruncated):
            next(decoding)


@given(st.integers(0, 7))
def test_record_with_any_flipped_bit_is_refused(bit: int) -> None:
    """One flipped bit anywhere is found, in header, checksum and payload alike."""
    whole = encoded([Record(2, 1_000, b"hello\n")])
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        with pytest.raises(RecordError):
            list(records.decode(bytes(damaged)))


@pytest.mark.parametrize("kind", [0, 9, 255])
def test_unknown_kind_is_corrupt(kind: int) -> None:
    """A correct checksum does not make a kind known."""
    with pytest.raises(RecordCorrupt, match=f"kind {kind}"):
        records.check(records.encode(kind, 0, b"x"), 0)


@pytest.mark.parametrize("kind", list(Kind))
def test_length_outside_its_bounds_is_corrupt(kind: Kind) -> None:
    """A header alone shows that no record can have this length."""
    fewest, most = records.PAYLOAD_BYTES[kind]
    for length in (fewest - 1, most + 1):
        head = (
            records.encode(kind, 0, b"")[:4] + bytes([kind]) + length.to_bytes(3, "big") + bytes(8)
        )
        with pytest.raises(RecordCorrupt, match="payload bytes"):
            records.measure(head, 0)


def test_gap_advances_by_its_span_and_others_by_their_size() -> None:
    """Offsets count a gap as the records that it stands for."""
    gap = records.encode(Kind.GAP, 0, records.gap(4096, 4000, GapCause.OVERFLOW))
    output = records.encode(Kind.STDOUT, 0, b"hi")
    assert records.advance(*records.check(gap, 0), gap, 0) == 4096
    assert records.advance(*records.check(output, 0), output, 0) == 18


def test_largest_record_fits_a_batch() -> None:
    """So that every record can be sent."""
    largest = records.encode(Kind.STDOUT, 0, bytes(records.MAX_PAYLOAD_BYTES))
    assert len(largest) == 65_536


@given(RECORDS, st.binary(max_size=40))
def test_walk_sees_what_decoding_sees(items: list[Record], junk: bytes) -> None:
    """And whatever comes behind it, nothing that is no whole record."""
    buffer = encoded(items) + junk
    walked = [Record(kind, us, buffer[a:b]) for kind, us, a, b in records.walk(buffer)]
    assert walked[: len(items)] == items
    end = sum(record.size for record in walked)
    assert end <= len(buffer)
