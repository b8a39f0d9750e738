"""A recording's header: whole, or refused with a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import wire
from ptyshipper.errors import RecordingError
from ptyshipper.surroundings import surroundings
from ptyshipper.wire import recording
from tests.support.server import describe

ID = bytes(range(16))
ABOUT: dict[str, Any] = {"argv": ["sh", "-c", "\udcff"], "cwd": "/"}


def test_what_was_written_is_read() -> None:
    data = recording.header(ID, describe(), ABOUT)
    assert recording.read_header(data + b"records") == (ID, describe(), ABOUT, len(data))


@given(st.data())
def test_no_byte_of_it_can_change_unseen(data: st.DataObject) -> None:
    good = bytearray(recording.header(ID, describe(), ABOUT))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordingError):
        recording.read_header(bytes(good))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for prefix in (b"", recording.MAGIC):
        with pytest.raises(RecordingError):
            recording.read_header(prefix + data)


def test_one_that_is_cut_short_is_refused() -> None:
    whole = recording.header(ID, describe(), ABOUT)
    for size in range(len(whole)):
        with pytest.raises(RecordingError):
            recording.read_header(whole[:size])


def test_the_protocol_names_all_that_is_told_about_a_session() -> None:
    """And gives the magic."""
    document = (Path(wire.__file__).parent / "PROTOCOL.md").read_text("utf-8")
    section = document[document.index("## 7. Recordings") : document.index("## Golden bytes")]
    told = re.search(r"this file alone: (.*?), none of them", section, re.DOTALL)
    assert told is not None
    assert re.findall(r"`(\w+)`", told[1]) == list(surroundings([], {}, "auto", []))
    assert recording.MAGIC.hex(" ") in section


def test_lengths_are_bounded() -> None:
    with pytest.raises(ValueError, match="about a session"):
        recording.header(ID, describe(), {"argv": ["x" * recording.MAX_ABOUT_BYTES]})
    lying = recording.MAGIC + b"\xff" * 12
    with pytest.raises(RecordingError):
        recording.header_bytes(lying)
