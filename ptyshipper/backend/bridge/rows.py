"""Entries as rows of AnvilOps' table ``"Log"``, and how many of them at once. Pure.

AnvilOps' server reads, on each notification, the newest 500 rows that it has not read. Of more than that
between two of its looks it would never show the rest, so a deployment gets at most ``BURST`` rows in
``PAUSE_S``. Source: AnvilOps 0.5, tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.entries.derive import Derivation
from ptyshipper.backend.entries.entry import Entry
from ptyshipper.backend.entries.merging import Told, told
from ptyshipper.backend.session import MAX_WALL_US, Chunk, Session

BURST = 500
PAUSE_S = 0.015
"""A look takes AnvilOps 13 ms, the notification included."""

COLUMNS = ("type", "deploymentId", "timestamp", "index", "content", "podName", "stream")
_MAX_INDEX = 2**31


def _date(time_us: int) -> str:
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_us // 1000 % 1000:03d}"


TIMESTAMPS: dict[str, Callable[[int], str]] = {
    "timestamp without time zone": _date,
    "timestamp with time zone": lambda time_us: _date(time_us) + "+00",
    "bigint": lambda time_us: str(time_us // 1000),
}
"""How a time (Unix, in us) is written to a column, by the column's type; all in milliseconds."""

# Source: PostgreSQL, COPY, "Text Format". A NUL is nothing that Postgres has in a text.
_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\ufffd"})


def _escape(text: str) -> str:
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPED)


class Portion(NamedTuple):
    """Rows of one session, as COPY takes them. ``was`` and ``now``: how many of its entries were rows
    before them, and are with them. ``is_all``: of what was read."""

    rows: list[str]
    was: int
    now: int
    is_all: bool


class Follower:
    """A session whose lines become rows; ``logged`` of its entries have.

    ``app_id`` is what AnvilOps says that its deployment belongs to. ``derivation`` has read as far as
    that; None: it has to be made anew, since something went otherwise than expected.

    Args:
        timestamps: the type of the column for the time.
    """

    def __init__(self, session: Session, app_id: int, logged: int, timestamps: str) -> None:
        self.session = session
        self.deployment_id = session.description.deployment_id or 0
        self.app_id = app_id
        self.logged = logged
        about = session.description
        self._begin = f"{about.type.upper()}\t{self.deployment_id}\t"
        self._pod = f"\t{_escape(about.hostname)}\t"
        self._date_of = TIMESTAMPS[timestamps]
        self._last_us, self._last_date = 0, self._date_of(0)
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
        rows, now = list[str](), self.logged
        for entry in entries:
            if entry is None:
                continue
            assert entry.number is not None
            line = told(self.session, entry)
            if line is not None:
                if len(rows) >= most:
                    return Portion(rows, self.logged, now, False)
                rows.append(self._row(line, entry.number))
            now = entry.number + 1
        return Portion(rows, self.logged, now, True)

    def _row(self, line: Told, number: int) -> str:
        # Rows are ordered by their times, then by index: a line that began before another that is a row
        # already, on another stream, still comes behind it.
        if line.time_us > self._last_us:
            self._last_us = min(line.time_us, MAX_WALL_US)
            self._last_date = self._date_of(self._last_us)
        text = _escape(line.text)
        return f"{self._begin}{self._last_date}\t{number % _MAX_INDEX}\t{text}{self._pod}{line.stream}\n"


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
