"""Messages: bytes to values and back, and every malformed one refused with its close code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.errors import ProtocolError
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import Ack, Batch, Bye, ByeReason, Hello, Summary, Welcome

OFFSETS = st.integers(0, messages.MAX_OFFSET)
READERS: list[Callable[[bytes], object]] = [
    messages.read_shipper_message,
    messages.read_backend_message,
    messages.read_viewer_message,
]


@given(
    st.binary(min_size=16, max_size=16),
    st.dictionaries(st.text(), st.text() | st.integers(), max_size=5),
)
def test_hello_survives(session_id: bytes, description: dict[str, object]) -> None:
    """Any description that JSON can tell."""
    message = messages.hello(session_id, description)
    assert messages.read_shipper_message(message) == Hello(session_id, description)


@given(OFFSETS, st.binary(max_size=500), st.integers(0, 2**32 - 1), st.sampled_from(ByeReason))
def test_messages_survive(offset: int, records: bytes, window: int, reason: ByeReason) -> None:
    """Each kind, from each side."""
    batch = messages.batch(offset, records)
    assert messages.read_shipper_message(batch) == Batch(offset, records)
    assert messages.read_viewer_message(batch) == Batch(offset, records)
    assert messages.read_shipper_message(messages.bye(reason)) == Bye(reason)
    assert messages.read_backend_message(messages.welcome(offset, window)) == Welcome(
        offset, window
    )
    assert messages.read_backend_message(messages.ack(offset)) == Ack(offset)
    assert messages.read_viewer_message(messages.summary({"id": "é"})) == Summary({"id": "é"})


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ProtocolError comes out of a reader."""
    for read in READERS:
        refused: ProtocolError | None = None
        try:
            read(data)
        except ProtocolError as error:
            refused = error
        if refused is not None:
            assert refused.code in (CloseCode.MALFORMED, CloseCode.MESSAGE_TOO_BIG)
            assert "\n" not in refused.reason


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", CloseCode.MALFORMED),
        (b"\x00", CloseCode.MALFORMED),
        (b"\x81" + bytes(12), CloseCode.MALFORMED),
        (b"\x01" + bytes(15), CloseCode.MALFORMED),
        (b"\x01" + bytes(16) + b"[]", CloseCode.MALFORMED),
        (b"\x01" + bytes(16) + b"{\xff}", CloseCode.MALFORMED),
        (b"\x01" + bytes(16) + b"[" * 16_384, CloseCode.MALFORMED),
        (b"\x01" + bytes(16) + b" " * 16_385, CloseCode.MESSAGE_TOO_BIG),
        (b"\x02" + bytes(7), CloseCode.MALFORMED),
        (b"\x02" + b"\x80" + bytes(7), CloseCode.MALFORMED),
        (b"\x02" + bytes(8 + 65_537), CloseCode.MESSAGE_TOO_BIG),
        (b"\x03", CloseCode.MALFORMED),
        (b"\x03\x03", CloseCode.MALFORMED),
        (b"\x03\x00\x00", CloseCode.MALFORMED),
    ],
)
def test_malformed_message_of_a_shipper_is_refused(message: bytes, code: CloseCode) -> None:
    """With the close code that the backend answers."""
    with pytest.raises(ProtocolError) as caught:
        messages.read_shipper_message(message)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01" + bytes(8),
        b"\x81" + bytes(11),
        b"\x81" + bytes(13),
        b"\x81" + b"\xff" * 12,
        b"\x82" + bytes(7),
        b"\x82" + bytes(9),
    ],
)
def test_malformed_message_of_a_backend_is_refused(message: bytes) -> None:
    """Short, long, and beyond the last offset."""
    with pytest.raises(ProtocolError):
        messages.read_backend_message(message)


@pytest.mark.parametrize("message", [b"", b"\x81" + bytes(12), b"\x83[]", b"\x83{"])
def test_malformed_message_to_a_viewer_is_refused(message: bytes) -> None:
    """A summary is an object."""
    with pytest.raises(ProtocolError):
        messages.read_viewer_message(message)


def test_hello_that_nobody_would_read_cannot_be_made() -> None:
    """A wrong id or a description over the limit is the caller's mistake."""
    with pytest.raises(ValueError, match="HELLO"):
        messages.hello(bytes(15), {})
    with pytest.raises(ValueError, match="HELLO"):
        messages.hello(bytes(16), {"command": ["x" * messages.MAX_DESCRIPTION_BYTES]})
