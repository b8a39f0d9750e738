"""``ptyshipper export``: a session to take away, as a cast, as text or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ptyshipper.errors import UsageError
from ptyshipper.printed.exports import FORMATS, Export
from ptyshipper.records import Record
from ptyshipper.view.client import Session
from ptyshipper.view.output import ends_quietly, tell
from ptyshipper.view.source import find


@ends_quietly
def export(data_dir: Path, session: str, *, format: str, out: BinaryIO) -> int:
    """Write a session, as far as it is stored, to ``out``.

    Args:
        session: an id, its first digits (4 at least), ``latest``, or a recording's path.
        format: one of ``FORMATS``.

    Raises:
        BackendError, RecordingError, UsageError: no backend, no such session or format.
    """
    if format not in FORMATS:
        raise UsageError(f"no format is called {format!r}; there are {', '.join(FORMATS)}")
    source = find(data_dir, session)
    out.writelines(_written(FORMATS[format].make(source.session), source.records()))
    out.flush()
    tell(source.notice)
    return 0


def _written(form: Export, items: Iterator[Record | Session]) -> Iterator[bytes]:
    yield form.header().encode()
    for item in items:
        for part in form.feed(item) if isinstance(item, Record) else (form.finish(),):
            yield part.encode()
