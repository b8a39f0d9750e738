"""What the backend knows of one session, and how it tells readers of it. No I/O, no clock."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

from ptyshipper.backend.digest import NO_LINES, Digest, OpenLines
from ptyshipper.records import HEADER_BYTES, advance, measure
from ptyshipper.wire.description import MAX_INTEGER as MAX_INTEGER
from ptyshipper.wire.description import MAX_WALL_US as MAX_WALL_US
from ptyshipper.wire.description import Description as Description
from ptyshipper.wire.description import base64_of, text_of
from ptyshipper.wire.description import read_description as read_description
from ptyshipper.wire.description import rfc3339 as rfc3339
from ptyshipper.wire.messages import SESSION_ID_BYTES

CUT_AFTER_US = 30_000_000
"""A session without a connection for so long counts as cut off, until it comes back."""

QUIET_AFTER_US = 300_000_000
"""A session of posts has no connection and no end: without one for so long it is quiet."""

MARK = Struct(">qq")


@dataclass(slots=True)
class Session:
    """The state of a session; ``number`` is the store's key for it, 0 while it is not stored.

    ``epoch`` counts the connections that it had: what an older one brings is not stored any more.
    ``is_posted``: it came as JSON posts of lines. ``first_offset`` is where what is kept begins,
    ``next_offset`` where the next batch has to. ``entries`` counts the lines and events that are
    complete, ``open_lines`` are those that are not. ``last_arrival`` is the id of the newest entry
    (``Chunk``). ``ended_us`` is the exit's time since the session began, None while there was none.
    ``until_us``, which the store knows alone: nothing that is stored was completed at this Unix time or
    later.
    """

    id: bytes
    description: Description
    app_id: int | None = None
    is_posted: bool = False
    number: int = 0
    epoch: int = 0
    first_offset: int = 0
    next_offset: int = 0
    entries: int = 0
    open_lines: OpenLines = NO_LINES
    cols: int = 0
    rows: int = 0
    output_bytes: int = 0
    gaps: int = 0
    lost_bytes: int = 0
    ended_us: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    cut: bool = False
    connected: bool = False
    last_seen_us: int = 0
    last_arrival: int = 0
    until_us: int = field(default=0, compare=False)

    @property
    def exited(self) -> bool:
        return self.ended_us is not None

    def append(self, batch: Digest) -> None:
        """Move on over a batch of at least one record."""
        self.next_offset = batch.end_offset
        self.output_bytes += batch.output_bytes
        self.entries += batch.entries
        self.open_lines = batch.open_lines
        self.gaps += batch.gaps
        # A session may report any losses it likes; the sum has to stay a 64-bit column.
        self.lost_bytes = min(self.lost_bytes + batch.lost_bytes, MAX_INTEGER)
        self.cut = False
        if batch.window is not None:
            self.cols, self.rows = batch.window
        if batch.exited is not None:
            exit_, self.ended_us = batch.exited
            self.exit_code = None if exit_.signal else exit_.code
            self.exit_signal = exit_.signal or None

    def state(self, now_us: int) -> str:
        """``exited``, ``cut``, ``quiet`` or ``running``, as of ``now_us`` (Unix time)."""
        if self.exited:
            return "exited"
        if self.is_posted:
            return "running" if now_us - self.last_seen_us <= QUIET_AFTER_US else "quiet"
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
        elif state in ("cut", "quiet"):
            ended_at_us = self.last_seen_us
        return {
            "id": self.id.hex(),
            "app_id": self.app_id,
            "deployment_id": about.deployment_id,
            "type": about.type,
            "hostname": about.hostname,
            "command": [text_of(word) for word in about.command],
            "command_base64": base64_of(about.command),
            "tty": about.tty,
            "started_at": rfc3339(about.started_at_us),
            "ended_at": None if ended_at_us is None else rfc3339(ended_at_us),
            "state": state,
            "exit_code": self.exit_code,
            "exit_signal": self.exit_signal,
            "first_offset": self.first_offset,
            "bytes": self.output_bytes,
            "entries": self.entries,
            "gaps": self.gaps,
            "lost_bytes": self.lost_bytes,
            "cols": self.cols,
            "rows": self.rows,
        }


def span_of(time_us: int) -> int:
    """The exponent of the power of two, in microseconds, within which a session is that has come to this
    time since it began. It changes some 20 times in the life of a pod, so that an index by it is cheap."""
    return time_us.bit_length()


class Chunk(NamedTuple):
    """Consecutive records of a session, as they are stored and shown.

    Entries (the lines and events of a session) are numbered from 0 in the order in which they were
    completed: those from ``first_entry`` to before ``end_entry`` were completed in this chunk. A line
    that one of ``open_lines`` began, in the record at that offset, goes on in it.

    ``arrival`` is the id of its first entry: ids rise in the order in which entries became visible, in
    all sessions of a store together, and each is a little over the Unix time in microseconds at
    which it was stored. A chunk that was merged of several has in ``marks`` the (entry, arrival)
    with which each of them began, as 64-bit numbers.
    """

    first_offset: int
    end_offset: int
    first_time_us: int
    last_time_us: int
    first_entry: int
    end_entry: int
    open_lines: OpenLines
    records: bytes
    arrival: int = 0
    marks: bytes = b""

    def fragments(self) -> list[tuple[int, int]]:
        """The (entry, arrival) with which each part of it began."""
        marks = self.marks or MARK.pack(self.first_entry, self.arrival)
        return list(MARK.iter_unpack(marks))

    def arrival_of(self, entry: int) -> int:
        """The id of an entry that was completed in it."""
        fragments = self.fragments()
        first, arrival = fragments[bisect_right(fragments, (entry, MAX_INTEGER)) - 1]
        return arrival + entry - first


def merged(chunks: Sequence[Chunk]) -> Chunk:
    """One chunk of several that follow each other."""
    first = chunks[0]
    return first._replace(
        end_offset=chunks[-1].end_offset,
        last_time_us=max(chunk.last_time_us for chunk in chunks),
        end_entry=chunks[-1].end_entry,
        records=b"".join(chunk.records for chunk in chunks),
        # A part that completed nothing has no entry to tell the id of.
        marks=b"".join(
            chunk.marks or MARK.pack(chunk.first_entry, chunk.arrival)
            for chunk in chunks
            if chunk is first or chunk.end_entry > chunk.first_entry
        ),
    )


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


def command_text(command: tuple[str, ...]) -> str:
    """The command as JSON text in ASCII: half a surrogate pair survives in it."""
    return json.dumps(command, separators=(",", ":"))
