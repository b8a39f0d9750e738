"""Lines to requests that the API takes: its limits, its JSON, its order. Pure.

Rows are shown ordered by their timestamp, then by their place in their post. So timestamps never
decrease, and no two posts share one. What the real API does with each input is in the table of
``tests/support/fake_anvilops.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ptyshipper.uplink.posting.lines import Line

MAX_LINES = 500
"""A live view reads the newest 500 rows when it is notified, which is once a post."""
MAX_BODY_BYTES = 102_400
MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; a later one is refused."""

_MAX_HOSTNAME_CHARACTERS = 253
_STREAMS = (b"stdout", b"stderr", b"stdout", b"stderr")
"""By what name a line of each is posted: the API knows no terminal, and what we say goes to stderr."""

_OWN_STREAM = _STREAMS[-1]

_ENTRY = b'{"content":%b,"stream":"%b","timestamp":%d}'
_ENTRY_BYTES = len(_ENTRY % (b"", b"stdout", MAX_MS)) + 1
_encoded: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False).encode
_quoted: Callable[[str], str] = json.encoder.encode_basestring  # a third of the time


class Entry(NamedTuple):
    """A line as it goes into a post, or the part of one that fits; ``content`` is its JSON.

    ``line`` is None for all parts but a line's last: only with that one is the line done with.
    ``size_bytes`` is what it takes of a body, at most.
    """

    time_us: int
    stream: bytes
    content: bytes
    line: Line | None
    size_bytes: int


def notice(refused: Entry, status: int) -> Entry:
    """What stands for a line that is left out, where its readers look for it."""
    content = b'"ptyshipper: a line was refused (HTTP %d) and is left out"' % status
    return refused._replace(
        stream=_OWN_STREAM, content=content, size_bytes=len(content) + _ENTRY_BYTES
    )


class Envelope:
    """What every post of a session says beside its lines.

    Raises:
        ValueError: no post can be made for a session with such a description.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        deployment_id, log_type = description.get("deployment_id"), description.get("type")
        started_us = description.get("started_at_us")
        if not isinstance(deployment_id, int) or log_type not in ("build", "runtime"):
            raise ValueError("a session without deployment or type")
        hostname = str(description.get("hostname", ""))[:_MAX_HOSTNAME_CHARACTERS]
        head = {"type": log_type, "deploymentId": deployment_id, "hostname": _clean(hostname)}
        self._head = _encoded(head).encode()[:-1] + b',"lines":['
        self.room_bytes = MAX_BODY_BYTES - len(self._head) - len(b"]}")
        self.started_ms = started_us // 1000 if isinstance(started_us, int) else 0

    def body(self, entries: tuple[Entry, ...], stamps_ms: tuple[int, ...]) -> bytes:
        """The request's body; without entries it asks the API only whether it takes posts of ours."""
        lines = [
            _ENTRY % (entry.content, entry.stream, stamp_ms)
            for entry, stamp_ms in zip(entries, stamps_ms, strict=True)
        ]
        return self._head + b",".join(lines) + b"]}"

    def entries(self, line: Line) -> list[Entry]:
        """A line as entries that fit a post, which is one but for what takes six times its room."""
        stream = _STREAMS[line.source]
        text = line.text if line.text.isprintable() else _clean(line.text)
        content = _quoted(text).encode()
        size_bytes = len(content) + _ENTRY_BYTES
        if size_bytes <= self.room_bytes:
            return [Entry(line.time_us, stream, content, line, size_bytes)]
        parts = [
            Entry(line.time_us, stream, content, None, len(content) + _ENTRY_BYTES)
            for content in self._fitting(text)
        ]
        parts[-1] = parts[-1]._replace(line=line)
        return parts

    def _fitting(self, text: str) -> Iterator[bytes]:
        content = _quoted(text).encode()
        if len(content) + _ENTRY_BYTES <= self.room_bytes:
            yield content
            return
        middle = len(text) // 2
        yield from self._fitting(text[:middle])
        yield from self._fitting(text[middle:])


class Stamps:
    """Gives timestamps, in integer milliseconds.

    Args:
        started_ms: the session's start, by the wall clock.
        last_ms: the last one that an earlier post may have used.
    """

    def __init__(self, started_ms: int, last_ms: int) -> None:
        self._started_ms = min(max(0, started_ms), MAX_MS)
        self.last_ms = last_ms

    def of(self, entries: tuple[Entry, ...], *, apart: bool = False) -> tuple[int, ...]:
        """One for each line of a post; ``apart``: all different, so that the post may be divided."""
        stamps = []
        started_ms, least_ms = self._started_ms, self.last_ms + 1
        for entry in entries:
            stamp_ms = started_ms + entry.time_us // 1000
            if stamp_ms < least_ms:
                stamp_ms = least_ms
            stamps.append(stamp_ms)
            least_ms = stamp_ms + apart
        if stamps and stamps[-1] > MAX_MS:
            stamps = [min(stamp_ms, MAX_MS) for stamp_ms in stamps]
        if stamps:
            self.last_ms = stamps[-1]
        return tuple(stamps)


def fits(count: int, size_bytes: int, entry: Entry, room_bytes: int) -> bool:
    """Whether a post of so many lines and bytes takes one more."""
    return count < MAX_LINES and (size_bytes + entry.size_bytes <= room_bytes or not count)


def _clean(text: str) -> str:
    """Without what the API answers with a 500. What was decoded has no lone surrogates; a hostname
    may have."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
