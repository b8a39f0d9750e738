"""What a session's HELLO says about it: checked, and as readers get it. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ptyshipper.errors import ProtocolError
from ptyshipper.wire.closing import CloseCode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_WALL_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, which is as far as RFC 3339 goes."""
MAX_INTEGER = 2**63 - 1
_MAX_HOSTNAME_CHARACTERS = 255
"""Source: RFC 1035, which has no longer ones; Linux has 64."""


class Description(NamedTuple):
    """What the first HELLO of a session said about it; times in microseconds since 1970."""

    deployment_id: int | None
    type: str
    hostname: str
    command: tuple[str, ...]
    tty: bool
    started_at_us: int


def read_description(fields: dict[str, Any]) -> Description:
    """The description in a HELLO.

    Raises:
        ProtocolError: MALFORMED where a key is missing or ill-typed.
    """
    deployment_id, command = fields.get("deployment_id", ""), fields.get("command")
    kind, hostname = fields.get("type"), fields.get("hostname")
    tty, started_at_us, client = (
        fields.get("tty"),
        fields.get("started_at_us"),
        fields.get("client"),
    )
    if not (deployment_id is None or _is_integer(deployment_id, -MAX_INTEGER, MAX_INTEGER)):
        raise ProtocolError(CloseCode.MALFORMED, "deployment_id is no integer")
    if kind not in ("build", "runtime"):
        raise ProtocolError(CloseCode.MALFORMED, "type is neither build nor runtime")
    if not isinstance(hostname, str) or not isinstance(client, str):
        raise ProtocolError(CloseCode.MALFORMED, "hostname or client is no string")
    if len(hostname) > _MAX_HOSTNAME_CHARACTERS:
        raise ProtocolError(CloseCode.MALFORMED, "hostname is longer than 255 characters")
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise ProtocolError(CloseCode.MALFORMED, "command is no list of strings")
    if not isinstance(tty, bool):
        raise ProtocolError(CloseCode.MALFORMED, "tty is neither true nor false")
    if not isinstance(started_at_us, int) or not _is_integer(started_at_us, 0, MAX_WALL_US):
        raise ProtocolError(CloseCode.MALFORMED, "started_at_us is no time before the year 10000")
    # JSON may escape half a surrogate pair, or a NUL, which not every database takes as text.
    hostname = hostname.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return Description(deployment_id, kind, hostname, tuple(command), tty, started_at_us)


def _is_integer(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def rfc3339(wall_us: int) -> str:
    """Unix time in microseconds as RFC 3339 in UTC with milliseconds, at most the year 9999's end."""
    moment = _EPOCH + timedelta(microseconds=min(wall_us, MAX_WALL_US) // 1000 * 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def text_of(word: str) -> str:
    """A word of a command as text: JSON has no way to write half a surrogate pair, which stands for a
    byte that is no UTF-8."""
    return word.encode("utf-8", "replace").decode()


def base64_of(command: tuple[str, ...]) -> list[str] | None:
    """The words as the bytes that they were; None where all of them are text."""
    if all(word == text_of(word) for word in command):
        return None
    return [
        base64.b64encode(
            word.encode("utf-8", "surrogateescape" if _is_escaped(word) else "replace")
        ).decode("ascii")
        for word in command
    ]


def _is_escaped(word: str) -> bool:
    """Whether its surrogates stand for bytes (PEP 383); a hostile shipper's may stand for nothing."""
    return all(not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff"
               for character in word)  # fmt: skip
