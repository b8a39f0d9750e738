"""Segment files: golden bytes, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptyshipper.errors import SpoolError
from ptyshipper.spool.segment import (
    FILE_HEADER_BYTES,
    MAX_FILE_BYTES,
    FileSegment,
    Mark,
    MemorySegment,
    Segment,
    load,
)

ID = bytes(range(16))
START = Mark(0x1122, 0x3344, 0x5566)
GOLDEN_HEADER = bytes.fromhex(
    "505459 53504c 0001"  # magic
    "000102030405060708090a0b0c0d0e0f"  # session id
    "0000000000001122"  # offset of the first record
    "0000000000003344"  # the program's output before it
    "0000000000005566"  # its time
    "000000000000000000000000"
    "9c7f373c"  # CRC-32 of all that
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    segment = FileSegment.create(str(tmp_path), ID, START)
    segment.append([b"ab", b"c"], 3)
    segment.seal()
    return Path(segment.path)


def test_golden_bytes(path: Path) -> None:
    """A successor may be another version of this program."""
    assert path.name == "00000000000000004386.seg"
    assert path.read_bytes() == GOLDEN_HEADER + b"abc"
    assert len(GOLDEN_HEADER) == FILE_HEADER_BYTES


def test_what_was_created_can_be_loaded(path: Path) -> None:
    segment = load(str(path), ID)
    assert (segment.start, segment.end_offset) == (START, START.offset + 3)
    segment.open_for_reading()
    assert segment.read(START.offset + 1, 10) == b"bc"
    segment.close_reading()


@pytest.mark.parametrize("place", range(FILE_HEADER_BYTES))
def test_any_damage_to_the_header_is_noticed(place: int, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(SpoolError):
        load(str(path), ID)


@pytest.mark.parametrize("size", [0, 1, FILE_HEADER_BYTES - 1, MAX_FILE_BYTES + 1])
def test_a_size_that_no_segment_has_is_refused(size: int, path: Path) -> None:
    os.truncate(path, size)
    with pytest.raises(SpoolError):
        load(str(path), ID)


def test_a_segment_under_another_name_or_of_another_session_is_refused(path: Path) -> None:
    with pytest.raises(SpoolError):
        load(str(path), bytes(16))
    other = path.rename(path.with_name("00000000000000000000.seg"))
    with pytest.raises(SpoolError):
        load(str(other), ID)


def test_a_file_that_is_there_is_not_written_over(path: Path) -> None:
    with pytest.raises(FileExistsError):
        FileSegment.create(str(path.parent), ID, START)
    assert path.read_bytes().endswith(b"abc")


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_what_is_appended_can_be_read_at_once(kind: str, tmp_path: Path) -> None:
    segment: Segment = (
        FileSegment.create(str(tmp_path), ID, START) if kind == "file" else MemorySegment(START)
    )
    segment.open_for_reading()
    for index in range(3):
        segment.append([b"x" * index, b"y"], index + 1)
    assert segment.read(START.offset, 100) == b"yxyxxy"
    assert segment.read(START.offset + 3, 2) == b"xx"
    assert segment.end_offset == START.offset + 6
    segment.close_reading()
    segment.seal()


def test_a_file_deleted_while_it_is_written_can_still_be_read(tmp_path: Path) -> None:
    segment = FileSegment.create(str(tmp_path), ID, START)
    segment.append([b"abc"], 3)
    segment.delete()
    segment.open_for_reading()
    assert segment.read(START.offset, 3) == b"abc"
    segment.close_reading()
    segment.seal()
