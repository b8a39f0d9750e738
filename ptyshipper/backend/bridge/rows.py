"""Entries as rows of AnvilOps' table ``"Log"``, and how many of them at once. Pure.

AnvilOps' server reads, on each notification, the newest 500 rows that it has not read. Of more than that
between two of its looks it would never show the rest, so a deployment gets at most ``BURST`` rows in
``PAUSE_S``. Source: AnvilOps 0.5, tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.entries.derive import Derivation
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.merging import told
from ptyshipper.backend.session import MAX_WALL_US, Chunk, Session

BURST = 500
PAUSE_S = 0.025
"""A look takes AnvilOps 13 ms, the notification included."""

COLUMNS = ("type", "deploymentId", "timestamp", "index", "content", "podName", "stream")
_MAX_INDEX = 2**31


class LogRow(NamedTuple):
    """A line. Lines are ordered by ``time_us`` (Unix time), then by ``place``."""

    type: str
    deployment_id: int
    time_us: int
    place: int
    content: str
    pod: str
    stream: str

    def values(self, timestamps: str) -> tuple[Any, ...]:
        """As the columns take them; ``timestamps`` is the type of the one for the time."""
        return (
            self.type,
            self.deployment_id,
            TIMESTAMPS[timestamps](self.time_us),
            self.place,
            self.content,
            self.pod,
            self.stream,
        )


def _utc(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1000 / 1000, UTC)


TIMESTAMPS: dict[str, Callable[[int], Any]] = {
    "timestamp without time zone": lambda time_us: _utc(time_us).replace(tzinfo=None),
    "timestamp with time zone": _utc,
    "bigint": lambda time_us: time_us // 1000,
}
"""How a time is written to a column, by the column's type; all in milliseconds."""


class Portion(NamedTuple):
    """Rows of one session. ``was`` and ``now``: how many of its entries were rows before them, and are
    with them. ``is_all``: of what was read."""

    rows: list[LogRow]
    was: int
    now: int
    is_all: bool


class Follower:
    """A session whose lines become rows; ``logged`` of its entries have.

    ``app_id`` is what AnvilOps says that its deployment belongs to. ``derivation`` has read as far as
    that; None: it has to be made anew, since something went otherwise than expected.
    """

    def __init__(self, session: Session, app_id: int, logged: int) -> None:
        self.session = session
        self.app_id = app_id
        self.logged = logged
        self._last_us = 0
        is_known = session.entries == logged and session.open_lines == NO_LINES
        self.derivation: Derivation | None = Derivation() if is_known else None
        self._offset = session.next_offset

    def resume(self, derivation: Derivation) -> None:
        """``derivation`` has read all that is stored, and all of it is rows."""
        self.derivation, self._offset = derivation, derivation.offset

    def follows(self, chunk: Chunk) -> bool:
        """Whether the chunk begins where its rows end, so that it can be read on its way in."""
        is_next = self.logged == chunk.first_entry and self._offset == chunk.first_offset
        return self.derivation is not None and is_next

    def read(self, chunk: Chunk, most: int) -> Portion:
        """The first ``most`` rows of a chunk that ``follows``."""
        assert self.derivation is not None
        portion = self.portion(self.derivation.feed(chunk), most)
        if portion.is_all:
            self._offset = chunk.end_offset
            return portion._replace(now=chunk.end_entry)
        self.derivation = None  # it is in the middle of the chunk
        return portion

    def portion(self, entries: Iterator[Entry | None], most: int) -> Portion:
        """The first ``most`` rows that entries make, from the one numbered ``logged`` on."""
        rows, now = list[LogRow](), self.logged
        for entry in entries:
            if entry is None:
                continue
            assert entry.number is not None
            row = self._row(entry)
            if row is not None:
                if len(rows) >= most:
                    return Portion(rows, self.logged, now, False)
                rows.append(row)
            now = entry.number + 1
        return Portion(rows, self.logged, now, True)

    def _row(self, entry: Entry) -> LogRow | None:
        line = told(self.session, entry)
        if line is None:
            return None
        about = self.session.description
        assert about.deployment_id is not None
        assert entry.number is not None
        # Rows are ordered by their times: a line that began before another that is a row already, on
        # another stream, still comes behind it.
        self._last_us = max(self._last_us, min(max(0, line.time_us), MAX_WALL_US))
        return LogRow(
            about.type.upper(),
            about.deployment_id,
            self._last_us,
            entry.number % _MAX_INDEX,
            line.text.replace("\0", "\ufffd"),
            about.hostname,
            line.stream,
        )


class Budget:
    """How many rows each deployment may still get."""

    def __init__(self) -> None:
        self._spent: dict[int, tuple[float, int]] = {}

    def left(self, deployment_id: int, now_s: float) -> int:
        """Rows that may come now; ``now_s`` is any steady clock."""
        begun_s, spent = self._spent.get(deployment_id, (now_s, 0))
        return BURST if now_s - begun_s >= PAUSE_S else BURST - spent

    def spend(self, deployment_id: int, rows: int, now_s: float) -> None:
        """So many come now."""
        left = self.left(deployment_id, now_s)
        self._spent[deployment_id] = (now_s, BURST - left + rows)

    def forget(self, now_s: float) -> None:
        """Drop what says nothing any more."""
        self._spent = {
            key: spent for key, spent in self._spent.items() if now_s - spent[0] < PAUSE_S
        }
