"""What the backend knows of one session, and how it tells readers of it. No I/O, no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ptyshipper.backend.digest import Digest
from ptyshipper.errors import ProtocolError
from ptyshipper.records import HEADER_BYTES, advance, measure
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import SESSION_ID_BYTES

CUT_AFTER_US = 30_000_000
"""A session without a connection for so long counts as cut off, until it comes back."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_WALL_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, which is as far as RFC 3339 goes."""
_MAX_INTEGER = 2**63 - 1
_MAX_HOSTNAME_CHARACTERS = 255
"""Source: RFC 1035, which has no longer ones; Linux has 64."""


@dataclass(frozen=True, slots=True)
class Description:
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
    if not (deployment_id is None or _is_integer(deployment_id, -_MAX_INTEGER, _MAX_INTEGER)):
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
    if not isinstance(started_at_us, int) or not _is_integer(started_at_us, 0, _MAX_WALL_US):
        raise ProtocolError(CloseCode.MALFORMED, "started_at_us is no time before the year 10000")
    # JSON may escape half a surrogate pair, which no database takes as text.
    hostname = hostname.encode("utf-8", "replace").decode()
    return Description(deployment_id, kind, hostname, tuple(command), tty, started_at_us)


def _is_integer(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


@dataclass(slots=True)
class Session:
    """The state of a session; ``number`` is the store's key for it, 0 while it is not stored.

    ``next_offset`` is where the next batch has to begin; ``*_lines`` count the newlines stored.
    ``ended_us`` is the exit's time since the session began, None while there was none.
    """

    id: bytes
    description: Description
    number: int = 0
    cols: int = 0
    rows: int = 0
    next_offset: int = 0
    output_bytes: int = 0
    stdout_lines: int = 0
    stderr_lines: int = 0
    tty_lines: int = 0
    gaps: int = 0
    lost_bytes: int = 0
    ended_us: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    cut: bool = False
    connected: bool = False
    last_seen_us: int = 0

    @property
    def exited(self) -> bool:
        return self.ended_us is not None

    def append(self, batch: Digest) -> None:
        """Move on over a batch of at least one record."""
        self.next_offset = batch.end_offset
        self.output_bytes += batch.output_bytes
        self.stdout_lines += batch.stdout_lines
        self.stderr_lines += batch.stderr_lines
        self.tty_lines += batch.tty_lines
        self.gaps += batch.gaps
        # A session may report any losses it likes; the sum has to stay a 64-bit column.
        self.lost_bytes = min(self.lost_bytes + batch.lost_bytes, _MAX_INTEGER)
        self.cut = False
        if batch.window is not None:
            self.cols, self.rows = batch.window
        if batch.exited is not None:
            exit_, self.ended_us = batch.exited
            self.exit_code = None if exit_.signal else exit_.code
            self.exit_signal = exit_.signal or None

    def state(self, now_us: int) -> str:
        """``exited``, ``cut`` or ``running``, as of ``now_us`` (Unix time)."""
        if self.exited:
            return "exited"
        if self.cut:
            return "cut"
        if self.connected or now_us - self.last_seen_us <= CUT_AFTER_US:
            return "running"
        return "cut"

    def summary(self, now_us: int) -> dict[str, Any]:
        """The session as readers get it, as of ``now_us`` (Unix time)."""
        about, state = self.description, self.state(now_us)
        ended_at_us: int | None = None
        if self.ended_us is not None:
            ended_at_us = about.started_at_us + self.ended_us
        elif state == "cut":
            ended_at_us = self.last_seen_us
        return {
            "id": self.id.hex(),
            "deployment_id": about.deployment_id,
            "type": about.type,
            "hostname": about.hostname,
            "command": list(about.command),
            "tty": about.tty,
            "started_at": rfc3339(about.started_at_us),
            "ended_at": None if ended_at_us is None else rfc3339(ended_at_us),
            "state": state,
            "exit_code": self.exit_code,
            "exit_signal": self.exit_signal,
            "bytes": self.output_bytes,
            "gaps": self.gaps,
            "lost_bytes": self.lost_bytes,
            "cols": self.cols,
            "rows": self.rows,
        }


class Chunk(NamedTuple):
    """Consecutive records of a session, as they are stored and shown.

    ``*_line`` is how many newlines the session had written to that stream before the chunk, which
    is the number, from 0, of the line that its first byte belongs to.
    """

    first_offset: int
    end_offset: int
    first_time_us: int
    last_time_us: int
    stdout_line: int
    stderr_line: int
    tty_line: int
    records: bytes


def records_from(records: bytes, first_offset: int, from_offset: int) -> tuple[int, bytes]:
    """The stored records at or behind ``from_offset``, and the offset of the first of them."""
    at, offset, end = 0, first_offset, len(records)
    while offset < from_offset and at + HEADER_BYTES <= end:
        kind, size = measure(records, at)
        offset += advance(kind, size, records, at)
        at += size
    return offset, records[at:] if at else records


def session_id_of(text: str) -> bytes | None:
    """The session id that 32 lower-case hexadecimal digits stand for; None for anything else."""
    if len(text) != 2 * SESSION_ID_BYTES or not all(digit in "0123456789abcdef" for digit in text):
        return None
    return bytes.fromhex(text)


def rfc3339(wall_us: int) -> str:
    """Unix time in microseconds as RFC 3339 in UTC with milliseconds, at most the year 9999's end."""
    moment = _EPOCH + timedelta(microseconds=min(wall_us, _MAX_WALL_US) // 1000 * 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def command_text(command: tuple[str, ...]) -> str:
    """The command as JSON text in ASCII: half a surrogate pair survives in it."""
    return json.dumps(command, separators=(",", ":"))
