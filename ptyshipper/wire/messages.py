"""The messages of the wire protocol, version 1: bytes to values and back.

Every message is one binary WebSocket message: a type byte, then big-endian fields.

=========  ====  ==========  ================================================================
message    type  from        fields
=========  ====  ==========  ================================================================
HELLO      0x01  shipper     session id (16 bytes), session's description (JSON, UTF-8)
BATCH      0x02  shipper     offset u64, whole records (0 to 65,536 bytes; none: a heartbeat)
BYE        0x03  shipper     reason u8
WELCOME    0x81  backend     offset u64, window_bytes u32
ACK        0x82  backend     offset u64
SUMMARY    0x83  backend     session's summary (JSON, UTF-8); to viewers only
=========  ====  ==========  ================================================================

A viewer gets BATCH and SUMMARY and sends nothing. Normative text: PROTOCOL.md.
"""

from __future__ import annotations

import json
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from ptyshipper.errors import ProtocolError
from ptyshipper.wire.closing import CloseCode

SHIPPER_SUBPROTOCOL = "ptyshipper.v1"
VIEWER_SUBPROTOCOL = "ptyshipper.view.v1"

SESSION_ID_BYTES = 16
MAX_BATCH_BYTES = 65_536
MAX_BATCH_RECORDS = 1_024
MAX_DESCRIPTION_BYTES = 16_384
MAX_MESSAGE_BYTES = 1 + 8 + MAX_BATCH_BYTES
"""The largest message that a shipper may send; larger ones are refused unread (1009)."""

MAX_OFFSET = 2**63 - 1
"""Offsets are kept in signed 64-bit columns."""


class Type(IntEnum):
    HELLO = 0x01
    BATCH = 0x02
    BYE = 0x03
    WELCOME = 0x81
    ACK = 0x82
    SUMMARY = 0x83


class ByeReason(IntEnum):
    """Why a shipper says goodbye."""

    ENDED = 0  # the exit record was acknowledged; nothing will follow
    CUT = 1  # the session's wrapper died without an exit record; a successor sent what it left
    LEAVING = 2  # the rest may still come, over another connection


class Hello(NamedTuple):
    session_id: bytes
    description: dict[str, Any]


class Batch(NamedTuple):
    offset: int
    records: bytes


class Bye(NamedTuple):
    reason: ByeReason


class Welcome(NamedTuple):
    offset: int
    window_bytes: int


class Ack(NamedTuple):
    offset: int


class Summary(NamedTuple):
    session: dict[str, Any]


ShipperMessage = Hello | Batch | Bye
BackendMessage = Welcome | Ack
ViewerMessage = Batch | Summary

_OFFSET = Struct(">BQ")
_WELCOME = Struct(">BQI")
_BYE = Struct(">BB")


def hello(session_id: bytes, description: dict[str, Any]) -> bytes:
    """A HELLO. ``description`` has the keys that PROTOCOL.md names.

    Raises:
        ValueError: the id is not 16 bytes, or the description too long.
    """
    text = json.dumps(description, separators=(",", ":")).encode()
    if len(session_id) != SESSION_ID_BYTES or len(text) > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"a HELLO of {len(session_id)} id bytes and {len(text)} of description")
    return bytes([Type.HELLO]) + session_id + text


def batch(offset: int, records: bytes) -> bytes:
    return _OFFSET.pack(Type.BATCH, offset) + records


def bye(reason: ByeReason) -> bytes:
    return _BYE.pack(Type.BYE, reason)


def welcome(offset: int, window_bytes: int) -> bytes:
    return _WELCOME.pack(Type.WELCOME, offset, window_bytes)


def ack(offset: int) -> bytes:
    return _OFFSET.pack(Type.ACK, offset)


def summary(session: dict[str, Any]) -> bytes:
    return bytes([Type.SUMMARY]) + json.dumps(session, separators=(",", ":")).encode()


def _malformed(reason: str) -> ProtocolError:
    return ProtocolError(CloseCode.MALFORMED, reason)


def _offset_and_rest(message: bytes) -> tuple[int, bytes]:
    if len(message) < _OFFSET.size:
        raise _malformed(f"a message of {len(message)} bytes where 9 begin with an offset")
    offset: int = _OFFSET.unpack_from(message)[1]
    if offset > MAX_OFFSET:
        raise _malformed("an offset beyond 2^63")
    return offset, message[_OFFSET.size :]


def _json_object(text: bytes) -> dict[str, Any]:
    # RecursionError: json descends once a bracket, and 16 KiB of brackets go deeper than Python.
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _malformed("a JSON text that can't be read") from None
    if not isinstance(value, dict):
        raise _malformed("a JSON text that is no object")
    return value


def read_shipper_message(message: bytes) -> ShipperMessage:
    """What a shipper sent. The records of a batch are not looked into.

    Raises:
        ProtocolError: with MALFORMED, or MESSAGE_TOO_BIG where a limit is passed.
    """
    if not message:
        raise _malformed("an empty message")
    match message[0]:
        case Type.HELLO:
            if len(message) < 1 + SESSION_ID_BYTES:
                raise _malformed("a HELLO without a session id")
            if len(message) > 1 + SESSION_ID_BYTES + MAX_DESCRIPTION_BYTES:
                raise ProtocolError(CloseCode.MESSAGE_TOO_BIG, "a description over 16,384 bytes")
            text = message[1 + SESSION_ID_BYTES :]
            return Hello(message[1 : 1 + SESSION_ID_BYTES], _json_object(text))
        case Type.BATCH:
            offset, records = _offset_and_rest(message)
            if len(records) > MAX_BATCH_BYTES:
                raise ProtocolError(CloseCode.MESSAGE_TOO_BIG, "a batch over 65,536 bytes")
            return Batch(offset, records)
        case Type.BYE:
            if len(message) != _BYE.size:
                raise _malformed("a BYE that is not 2 bytes")
            try:
                return Bye(ByeReason(message[1]))
            except ValueError:
                raise _malformed("a BYE for no known reason") from None
        case _:
            raise _malformed(f"a message of type 0x{message[0]:02x} from a shipper")


def read_backend_message(message: bytes) -> BackendMessage:
    """What a backend sent to a shipper.

    Raises:
        ProtocolError: with MALFORMED.
    """
    if not message:
        raise _malformed("an empty message")
    match message[0]:
        case Type.WELCOME:
            if len(message) != _WELCOME.size:
                raise _malformed("a WELCOME that is not 13 bytes")
            _, offset, window_bytes = _WELCOME.unpack(message)
            if offset > MAX_OFFSET:
                raise _malformed("an offset beyond 2^63")
            return Welcome(offset, window_bytes)
        case Type.ACK:
            offset, rest = _offset_and_rest(message)
            if rest:
                raise _malformed("an ACK that is not 9 bytes")
            return Ack(offset)
        case _:
            raise _malformed(f"a message of type 0x{message[0]:02x} from a backend")


def read_viewer_message(message: bytes) -> ViewerMessage:
    """What a backend sent to a viewer.

    Raises:
        ProtocolError: with MALFORMED.
    """
    if not message:
        raise _malformed("an empty message")
    match message[0]:
        case Type.BATCH:
            return Batch(*_offset_and_rest(message))
        case Type.SUMMARY:
            return Summary(_json_object(message[1:]))
        case _:
            raise _malformed(f"a message of type 0x{message[0]:02x} to a viewer")
