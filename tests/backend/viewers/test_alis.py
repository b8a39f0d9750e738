"""asciinema's live protocol, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.viewers.alis import Writer, leb128
from tests.support.alis import read_leb128


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, "00"), (127, "7F"), (128, "80 01"), (1_000_000, "C0 84 3D")]
)
def test_leb128(value: int, encoded: str) -> None:
    assert leb128(value) == bytes.fromhex(encoded)


@given(st.integers(0, 2**70))
def test_leb128_reads_back(value: int) -> None:
    assert read_leb128(leb128(value) + b"\xff", 0) == (value, len(leb128(value)))


def test_asciinema_s_own_vectors() -> None:
    """Of its ``src/alis.rs``."""
    assert Writer(1).init(0, 500, 120, 130, "") == bytes.fromhex("01 01 F403 78 8201 00 00")
    assert (
        Writer(4).output(200, "Hello 世界 🌍")
        == bytes.fromhex("6F 05 C801 11") + "Hello 世界 🌍".encode()
    )
    assert Writer(14).resize(100, 180, 50) == bytes.fromhex("72 0F 64 B401 32")
    assert Writer(24).exit(200, 0) == bytes.fromhex("78 19 C801 00")


def test_numbers_rise_and_times_are_since_the_event_before() -> None:
    """A clock that goes back tells of no time; EOT has no number, an Init that of the event before it."""
    writer = Writer()
    assert writer.init(1_000, 9, 80, 24, "$ ") == bytes.fromhex("01 00 09 50 18 00 02") + b"$ "
    assert writer.output(1_005, "a") == b"o\x01\x05\x01a"
    assert writer.marker(1_003, "b") == b"m\x02\x00\x01b"
    assert writer.exit(1_006, 200) == b"x\x03\x01\xc8\x01"
    assert writer.init(1_010, 9, 1, 1, "")[:2] == b"\x01\x03"
    assert writer.end(1_012) == b"\x04\x02"


def test_size_is_one_that_a_player_can_bear() -> None:
    assert Writer().init(0, 0, 65_535, 65_535, "")[3:7] == leb128(500) + leb128(200)
    assert Writer().resize(0, 65_535, 1) == b"r\x01\x00" + leb128(500) + b"\x01"
