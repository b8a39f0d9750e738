"""AnvilOps' JSON post of lines, read and turned into records. Pure.

Source: AnvilOps 0.5, ``POST /api/logs/ingest``: ``{type, deploymentId, hostname, lines: [{content,
stream, timestamp}]}``, ``timestamp`` in integer milliseconds. Unknown properties are ignored.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, NamedTuple

from ptyshipper.backend.session import MAX_WALL_US, Description
from ptyshipper.errors import PtyshipperError
from ptyshipper.records import MAX_PAYLOAD_BYTES, Kind, encode, started
from ptyshipper.wire.messages import SESSION_ID_BYTES

POSTED = b"\0\0\0\0post"
"""What the ids of sessions of posts end with. Anybody could make such an id, of any pod: a shipper may not
have one (``ingest.core``)."""
MAX_LINES = 10_000
MAX_HOSTNAME_CHARACTERS = 255
MAX_ID = 2**31 - 1
_STREAMS = {"stdout": Kind.STDOUT, "stderr": Kind.STDERR}
TYPES = ("build", "runtime")


class PostRefused(PtyshipperError):
    """It is no such post; ``str()`` says what is wrong."""


class PostedLine(NamedTuple):
    """A line without its newline, and when it was printed (Unix time)."""

    kind: Kind
    time_us: int
    content: bytes


class Post(NamedTuple):
    """Lines of one pod's deployment."""

    type: str
    deployment_id: int
    hostname: str
    lines: list[PostedLine]

    @property
    def session_id(self) -> bytes:
        """All posts of a pod are one session: nothing in them tells a restarted container from itself."""
        name = json.dumps(["posts", self.deployment_id, self.type, self.hostname])
        return sha256(name.encode()).digest()[: SESSION_ID_BYTES - len(POSTED)] + POSTED

    def description(self) -> Description:
        """What its first post tells of the session."""
        return Description(
            self.deployment_id, self.type, self.hostname, (), False, self.lines[0].time_us
        )


def read_post(body: bytes) -> Post:
    """The post that a request's body is.

    Raises:
        PostRefused: it is none.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise PostRefused("the body is no JSON") from None
    if not isinstance(fields, dict):
        raise PostRefused("the body is no JSON object")
    kind, hostname, lines = fields.get("type"), fields.get("hostname"), fields.get("lines")
    if kind not in TYPES:
        raise PostRefused("type is neither build nor runtime")
    if not isinstance(hostname, str) or not 0 < len(hostname) <= MAX_HOSTNAME_CHARACTERS:
        raise PostRefused("hostname is no string of 1 to 255 characters")
    if not isinstance(lines, list) or len(lines) > MAX_LINES:
        raise PostRefused(f"lines is no list of at most {MAX_LINES} lines")
    hostname = _text(hostname).decode().replace("\0", "\ufffd")
    deployment_id = _integer(fields.get("deploymentId"), 1, MAX_ID, "deploymentId")
    return Post(kind, deployment_id, hostname, [_line(line) for line in lines])


def _line(line: Any) -> PostedLine:
    if not isinstance(line, dict):
        raise PostRefused("a line is no object")
    content, stream = line.get("content"), line.get("stream")
    if not isinstance(content, str):
        raise PostRefused("a line's content is no string")
    if not isinstance(stream, str) or stream not in _STREAMS:
        raise PostRefused("a line's stream is neither stdout nor stderr")
    time_ms = _integer(line.get("timestamp"), -(2**53), 2**53, "a line's timestamp")
    time_us = min(max(0, time_ms * 1000), MAX_WALL_US)
    return PostedLine(_STREAMS[stream], time_us, _text(content))


def _integer(value: Any, least: int, most: int, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON, 1.0 is an integer
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PostRefused(f"{what} is no integer from {least} to {most}")
    return value


def _text(text: str) -> bytes:
    """JSON may escape half a surrogate pair, which is no character."""
    return text.encode("utf-8", "replace")


def start_record(lines: list[PostedLine]) -> bytes:
    """What the records of a session begin with."""
    return encode(Kind.STARTED, 0, started(lines[0].time_us, 0, 0, 0))


def records_of(lines: list[PostedLine], started_at_us: int, from_us: int) -> tuple[bytes, int]:
    """The lines as records of a session that began at ``started_at_us``.

    Args:
        from_us: the time in the session of the record before them; none goes back behind it.

    Returns:
        The records, and the time of the last.
    """
    parts = list[bytes]()
    for line in lines:
        from_us = max(from_us, line.time_us - started_at_us)
        content = line.content + b"\n"
        parts += [
            encode(line.kind, from_us, content[at : at + MAX_PAYLOAD_BYTES])
            for at in range(0, len(content), MAX_PAYLOAD_BYTES)
        ]
    return b"".join(parts), from_us
