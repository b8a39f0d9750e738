"""The reader: damage anywhere, and a backend that goes back."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.records import GapCause, Kind
from ptyshipper.spool.ledger import KEEP_RELEASED_S
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.spool.segment import FILE_HEADER_BYTES
from ptyshipper.wire.messages import MAX_BATCH_RECORDS
from tests.spool.spools import Warnings, open_spool, read_all, read_spool, segment_files, write

RECORD_BYTES = 116


def damage(path: Path, place: int, data: bytes = b"\xff") -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)


def place_of(record: int, byte: int = 0) -> int:
    return FILE_HEADER_BYTES + record * RECORD_BYTES + byte


def test_batches_hold_as_many_records_as_the_wire_allows() -> None:
    spool = open_spool(None, Warnings())
    for _ in range(MAX_BATCH_RECORDS + 1):
        spool.append(Kind.STDOUT, 0, b"x")
    spool.flush()
    reader = SpoolReader(spool.ledger)
    assert reader.read(0).record_count == MAX_BATCH_RECORDS
    assert reader.read(reader.read(0).next_offset).record_count == 1
    spool.close()


@pytest.mark.parametrize("byte", [0, 1, 50, RECORD_BYTES - 1])
def test_one_damaged_record_is_all_that_is_lost(byte: int, tmp_path: Path) -> None:
    """In the checksum or the payload: the header still says where the next record begins."""
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[bytes([65 + n]) * 100 for n in range(10)])
    damage(segment_files(tmp_path)[0], place_of(4, byte))
    got = read_spool(spool)
    assert got.gaps == [records.Gap(RECORD_BYTES, 100, GapCause.CORRUPT)]
    assert got.output == b"".join(bytes([65 + n]) * 100 for n in range(10) if n != 4)
    assert [record.time_us for record in got.records] == sorted(r.time_us for r in got.records)
    spool.close()


@pytest.mark.parametrize("byte", [4, 5, 6, 7])
@pytest.mark.parametrize("segment", [1, -1])
def test_a_damaged_header_costs_its_record_alone(byte: int, segment: int, tmp_path: Path) -> None:
    """Kind or length: nothing says where the next record begins, so that is looked for."""
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 100] * 2000)
    damage(segment_files(tmp_path)[segment], place_of(3, byte), b"\x11")
    got = read_spool(spool)
    assert got.gaps == [records.Gap(RECORD_BYTES, 100, GapCause.CORRUPT)]
    assert got.counted_bytes == 200_000
    spool.close()


def test_several_damaged_stretches_are_counted_to_the_byte_together(tmp_path: Path) -> None:
    """Each held several records; how many is known of the segment, so the spans tell it for all."""
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 100] * 2000)
    for record in (10, 100, 200):
        damage(segment_files(tmp_path)[0], place_of(record, 50), bytes(1000))
    got = read_spool(spool)
    assert len(got.gaps) == 3
    assert {gap.span for gap in got.gaps} == {10 * RECORD_BYTES}
    assert all(gap.lost_bytes <= gap.span for gap in got.gaps)
    assert got.counted_bytes == 200_000
    spool.close()


def test_what_the_program_printed_of_an_earlier_time_is_no_record(tmp_path: Path) -> None:
    """A record of another session in the output, and damage before it: the time gives it away."""
    spool = open_spool(tmp_path, Warnings())
    forged = records.encode(Kind.STDOUT, 1, b"forged")
    for time_us in range(100, 110):
        spool.append(Kind.STDOUT, time_us, forged * 10)
        spool.flush()
    damage(segment_files(tmp_path)[0], FILE_HEADER_BYTES + 3 * (16 + 10 * len(forged)) + 4)
    got = read_spool(spool)
    assert [gap.lost_bytes for gap in got.gaps] == [10 * len(forged)]
    assert b"forged" not in [record.payload for record in got.records]
    spool.close()


def test_output_that_looks_like_headers_all_over_does_not_keep_the_reader_busy(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path, Warnings(), max_bytes=2**30)
    hostile = b"\x02\0\xff\xf0\0\0\0\0" * 8_000
    write(spool, *[hostile] * 60)
    damage(segment_files(tmp_path)[0], FILE_HEADER_BYTES + 4)
    started_s = time.monotonic()
    got = read_spool(spool)
    assert time.monotonic() - started_s < 5
    assert got.counted_bytes == 60 * len(hostile)
    spool.close()


def test_damage_in_the_segment_being_written_is_counted_by_the_writer(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 100] * 10)
    damage(segment_files(tmp_path)[0], place_of(3), bytes(7 * RECORD_BYTES))
    reader = SpoolReader(spool.ledger)
    got = read_all(reader)
    assert got.gaps == [records.Gap(7 * RECORD_BYTES, 700, GapCause.CORRUPT)]
    write(spool, b"later")
    assert read_all(reader, got.end).output == b"later"
    reader.close()
    spool.close()


def test_a_gap_on_the_disk_is_damage(tmp_path: Path) -> None:
    """The spool stores none, and a forged one could make the offsets lie."""
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 17] * 3)
    forged = records.encode(Kind.GAP, 1, records.gap(10**9, 0, GapCause.OVERFLOW))
    damage(segment_files(tmp_path)[0], FILE_HEADER_BYTES + 33, forged)
    got = read_spool(spool)
    assert [gap.span for gap in got.gaps] == [33]
    spool.close()


def test_a_missing_file_is_a_gap(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 100] * 2000)
    segment_files(tmp_path)[1].unlink()
    got = read_spool(spool)
    assert [gap.cause for gap in got.gaps] == [GapCause.CORRUPT]
    assert got.counted_bytes == 200_000
    spool.close()


def test_a_truncated_file_is_a_gap(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 100] * 2000)
    with open(segment_files(tmp_path)[0], "r+b") as file:
        file.truncate(place_of(5, 40))
    got = read_spool(spool)
    assert [gap.cause for gap in got.gaps] == [GapCause.CORRUPT]
    assert got.counted_bytes == 200_000
    spool.close()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_damage_is_gaps_that_add_up(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But for a header that is forged to look right, which random damage does not bring about."""
    source = random.Random(seed)
    directory = tmp_path_factory.mktemp("spool")
    spool = open_spool(directory, Warnings())
    write(spool, *[source.randbytes(source.choice([1, 100, 30_000])) for _ in range(30)])
    total = spool.ledger.head.output_bytes
    for path in segment_files(directory):
        for _ in range(source.randrange(3)):
            place = source.randrange(FILE_HEADER_BYTES, path.stat().st_size)
            # Not a header's kind, which may turn output into something else of the same length.
            damage(path, place, source.randbytes(source.choice([1, 40])))
    got = read_spool(spool)
    assert got.end == spool.ledger.head.offset
    assert got.counted_bytes == total
    sizes = sum(gap.span for gap in got.gaps)
    assert sizes + sum(r.size for r in got.records if r.kind != Kind.GAP) == got.end
    spool.close()


def test_a_backend_that_lost_its_last_second_gets_it_again(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 10_000] * 20)
    reader = SpoolReader(spool.ledger)
    end = read_all(reader).end
    reader.release(end, 100.0)
    assert read_all(reader, 10_016).gaps == []
    reader.release(end, 100.0 + KEEP_RELEASED_S)
    (gap,) = read_all(reader, 0).gaps
    assert gap.cause == GapCause.BACKEND_LOST
    assert spool.ledger.first_offset() == gap.span > 100_000
    reader.close()
    spool.close()


def test_a_backend_that_comes_back_late_with_an_older_state_gets_the_rest_again(
    tmp_path: Path,
) -> None:
    """Its WELCOME says so, long after what it lost was acknowledged."""
    spool = open_spool(tmp_path, Warnings())
    write(spool, *[b"x" * 10_000] * 20)
    reader = SpoolReader(spool.ledger)
    end = read_all(reader).end
    reader.release(end, 100.0)
    reader.release(10_016, 200.0)
    got = read_all(reader, 10_016)
    assert (got.gaps, len(got.output)) == ([], 190_000)
    reader.release(end, 200.0)
    assert read_all(reader, 10_016).gaps == [], "it is kept as long as after the first time"
    reader.release(10_016, 200.0)
    reader.close()
    spool.close()
    assert list(tmp_path.iterdir()), "what the backend does not hold stays for a successor"


def test_what_was_freed_and_is_asked_for_again_is_counted_exactly() -> None:
    """From memory it goes at once, but the reader remembers where its batches ended."""
    spool = open_spool(None, Warnings())
    write(spool, *[b"x" * 40_000] * 20)
    reader = SpoolReader(spool.ledger)
    first = reader.read(0).next_offset
    end = read_all(reader, first).end
    reader.release(end, 100.0)
    got = read_all(reader, first)
    assert [gap.cause for gap in got.gaps] == [GapCause.BACKEND_LOST]
    assert got.counted_bytes == 800_000 - 40_000
    spool.close()


def test_what_nobody_can_count_is_counted_too_high_rather_than_too_low() -> None:
    spool = open_spool(None, Warnings())
    write(spool, *[b"x" * 40_000] * 20)
    reader = SpoolReader(spool.ledger)
    reader.release(read_all(reader).end, 100.0)
    got = read_all(SpoolReader(spool.ledger), 40_016)
    assert 760_000 <= got.counted_bytes <= 800_000
    spool.close()
