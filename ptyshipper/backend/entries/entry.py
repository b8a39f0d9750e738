"""A line or an event of a session, and how readers get it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ptyshipper.backend.session import MAX_WALL_US
from ptyshipper.printed.losses import lost
from ptyshipper.printed.signals import sent, signal_name
from ptyshipper.records import (
    Kind,
    Record,
    read_exited,
    read_gap,
    read_resized,
    read_signalled,
)

STREAMS = ("stdout", "stderr", "tty")
"""By what their records' kind is beyond ``Kind.STDOUT``."""


class Entry(NamedTuple):
    """A line (of ``stream``), or an event (``stream`` is None).

    ``number`` and ``id`` are None while the line's newline is yet to come. ``time_us`` is that of its first
    byte, ``completed_us`` that of its last, since the session began. ``text`` is the line as a reader sees
    it, or the event in words; ``is_truncated``: it is not all of the line. ``fields`` are an event's own.
    """

    number: int | None
    id: int | None
    time_us: int
    kind: str
    stream: str | None
    text: str
    is_truncated: bool = False
    fields: dict[str, Any] | None = None
    completed_us: int = 0


class Event(NamedTuple):
    """What an event's record says: the name of its kind, a sentence, its fields."""

    kind: str
    text: str
    fields: dict[str, Any]


def _resized(record: Record) -> Event:
    size = read_resized(record.payload)
    text = f"window {size.cols} x {size.rows}"
    return Event("resized", text, {"cols": size.cols, "rows": size.rows})


def _signalled(record: Record) -> Event:
    return Event("signalled", sent(record), {"signal": read_signalled(record.payload)})


def _exited(record: Record) -> Event:
    exit_ = read_exited(record.payload)
    if not exit_.signal:
        fields = {"code": exit_.code, "signal": None, "core_dumped": False}
        return Event("exited", f"exited with {exit_.code}", fields)
    text = f"ended by {signal_name(exit_.signal)}" + ", core dumped" * exit_.core_dumped
    fields = {"code": None, "signal": exit_.signal, "core_dumped": exit_.core_dumped}
    return Event("exited", text, fields)


def _gap(record: Record) -> Event:
    fields = {"lost_bytes": read_gap(record.payload).lost_bytes, "cause": lost(record).cause}
    return Event("gap", str(lost(record)), fields)


EVENTS: dict[int, Callable[[Record], Event]] = {
    Kind.RESIZED: _resized,
    Kind.SIGNALLED: _signalled,
    Kind.EXITED: _exited,
    Kind.GAP: _gap,
}
"""The kinds of records that are entries of their own."""


def as_json(entry: Entry, started_at_us: int) -> dict[str, Any]:
    """The entry as readers get it, of a session that began ``started_at_us`` (Unix time)."""
    value: dict[str, Any] = {
        "number": entry.number,
        "id": entry.id,
        "time_us": min(started_at_us + entry.time_us, MAX_WALL_US),
        "kind": entry.kind,
        "text": entry.text,
    }
    if entry.stream is not None:
        value["stream"] = entry.stream
        value["truncated"] = entry.is_truncated
    if entry.fields is not None:
        value.update(entry.fields)
    return value
