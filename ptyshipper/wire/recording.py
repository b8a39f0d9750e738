"""A session in one file, a *recording*: what a shipper would have sent, without a backend.

::

    magic 8s | hello_bytes u32 | about_bytes u32 | crc32 u32 | HELLO | about | record | record | …

HELLO is the message, with the session's id and description. ``about`` is a JSON object of what stays on
this machine (``ptyshipper.surroundings``). ``crc32`` covers both and their lengths. Then come the
session's records to the end of the file, without gaps where nothing was lost: all integers
big-endian, normative text in PROTOCOL.md, section 7.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from ptyshipper.errors import ProtocolError, RecordingError
from ptyshipper.wire import messages

MAGIC = b"PTYREC\x00\x01"
MAX_ABOUT_BYTES = 1 << 20
PREFIX_BYTES = 20
MAX_HELLO_BYTES = 1 + messages.SESSION_ID_BYTES + messages.MAX_DESCRIPTION_BYTES

_PREFIX = Struct(">8sIII")
_LENGTHS = Struct(">II")


class Header(NamedTuple):
    """What a recording begins with: ``size_bytes`` of it come before the first record."""

    session_id: bytes
    description: dict[str, Any]
    about: dict[str, Any]
    size_bytes: int


def header(session_id: bytes, description: dict[str, Any], about: dict[str, Any]) -> bytes:
    """The beginning of a recording.

    Raises:
        ValueError: the id is not 16 bytes, or one of the two objects too long.
    """
    hello = messages.hello(session_id, description)
    text = json.dumps(about, separators=(",", ":")).encode()
    if len(text) > MAX_ABOUT_BYTES:
        raise ValueError(f"{len(text)} bytes about a session")
    checksum = crc32(text, crc32(hello, crc32(_LENGTHS.pack(len(hello), len(text)))))
    return _PREFIX.pack(MAGIC, len(hello), len(text), checksum) + hello + text


def header_bytes(prefix: bytes) -> int:
    """How long a header is that begins with these 20 bytes.

    Raises:
        RecordingError: nothing that begins so is a recording.
    """
    if prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
        raise RecordingError("it is no recording of ptyshipper")
    if len(prefix) < PREFIX_BYTES:
        raise RecordingError("it ends within its header")
    hello_bytes: int
    about_bytes: int
    _, hello_bytes, about_bytes, _ = _PREFIX.unpack_from(prefix)
    if hello_bytes > MAX_HELLO_BYTES or about_bytes > MAX_ABOUT_BYTES:
        raise RecordingError("its header is damaged")
    return PREFIX_BYTES + hello_bytes + about_bytes


def read_header(data: bytes) -> Header:
    """The header that ``data`` begins with. The description's fields are not looked at.

    Raises:
        RecordingError: it is damaged, or no header.
    """
    size = header_bytes(data[:PREFIX_BYTES])
    if len(data) < size:
        raise RecordingError("it ends within its header")
    _, hello_bytes, about_bytes, checksum = _PREFIX.unpack_from(data)
    body = data[PREFIX_BYTES:size]
    if crc32(body, crc32(_LENGTHS.pack(hello_bytes, about_bytes))) != checksum:
        raise RecordingError("its header is damaged")
    try:
        hello = messages.read_shipper_message(body[:hello_bytes])
        about = json.loads(body[hello_bytes:])
    except (ProtocolError, ValueError, RecursionError):
        raise RecordingError("its header can't be understood") from None
    if not isinstance(hello, messages.Hello) or not isinstance(about, dict):
        raise RecordingError("its header can't be understood")
    return Header(hello.session_id, hello.description, about, size)
