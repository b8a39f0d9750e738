"""``ptyshipper export``: a session to take away, as a cast, as text or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ptyshipper.errors import UsageError
from ptyshipper.records import Record
from ptyshipper.view.cast import CastWriter
from ptyshipper.view.client import Backend, Session
from ptyshipper.view.logs import Clock, complete_lines, json_line, text_line
from ptyshipper.view.output import ends_quietly

FORMATS = ("cast", "text", "jsonl")


@ends_quietly
def export(data_dir: Path, session: str, *, format: str, out: BinaryIO) -> int:
    """Write a session, as far as it is stored, to ``out``.

    Args:
        session: an id, its first digits (4 at least), or ``latest``.
        format: ``cast`` (asciicast v3), ``text`` (lines, colours taken out), or ``jsonl`` (what
            ``logs --json`` prints).

    Raises:
        BackendError, UsageError: no backend, no such session or format.
    """
    if format not in FORMATS:
        raise UsageError(f"no format is called {format!r}; there are {', '.join(FORMATS)}")
    backend = Backend(data_dir)
    found = backend.find(session)
    items = backend.records(found["id"])
    written = _cast(found, items) if format == "cast" else _lines(found, items, format)
    out.writelines(written)
    out.flush()
    return 0


def _cast(session: Session, items: Iterator[Record | Session]) -> Iterator[bytes]:
    writer = CastWriter(session)
    yield writer.header().encode()
    for item in items:
        yield (writer.feed(item) if isinstance(item, Record) else writer.finish()).encode()


def _lines(session: Session, items: Iterator[Record | Session], format: str) -> Iterator[bytes]:
    clock = Clock(session)
    for complete in complete_lines(items, clock):
        for each in complete:
            if format == "jsonl":
                yield json_line(each, clock)
            else:
                yield text_line(each, person=False, colours=False).encode() + b"\n"
