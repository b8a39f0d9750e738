"""``ptyshipper export``: a session to take away, as a cast, as text or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ptyshipper.errors import UsageError
from ptyshipper.records import Record
from ptyshipper.view import text
from ptyshipper.view.cast import CastWriter
from ptyshipper.view.client import Backend, Session
from ptyshipper.view.lines import Line, LineAssembler, Lost
from ptyshipper.view.logs import Clock, json_line
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
    clock, lines = Clock(session), LineAssembler()
    for item in items:
        if isinstance(item, Record):
            clock.see(item)
            complete = lines.feed(item)
        else:
            complete = lines.finish()
        for each in complete:
            yield json_line(each, clock) if format == "jsonl" else _text_line(each)


def _text_line(item: Line | Lost) -> bytes:
    if isinstance(item, Lost):
        return f"--- {item} ---\n".encode()
    shown = text.decoded(text.last_rewrite(item.content))
    return text.visible(shown, colours=False).encode() + b"\n"
