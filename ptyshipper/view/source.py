"""Where a session is read from: a backend that has it, or a file that it was recorded to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ptyshipper.records import Record
from ptyshipper.view.client import Backend, Session
from ptyshipper.view.recording import RecordingFile


class Source(Protocol):
    """One session.

    ``about`` is what its program was started in, empty where that is not told; ``label`` what the
    commands take for it; ``notice`` what is to be said once the records were read.
    """

    session: Session
    about: dict[str, Any]
    notice: str

    @property
    def label(self) -> str: ...

    def records(self, offset: int = 0, *, follow: bool = False) -> Iterator[Record | Session]:
        """The records from ``offset`` on, and last the session as it is then."""


class _Stored:
    """A session that a backend has."""

    def __init__(self, backend: Backend, session: Session) -> None:
        self._backend = backend
        self.session = session
        self.about: dict[str, Any] = {}
        self.notice = ""

    @property
    def label(self) -> str:
        label: str = self.session["id"][:12]
        return label

    def records(self, offset: int = 0, *, follow: bool = False) -> Iterator[Record | Session]:
        return self._backend.records(self.session["id"], offset, follow=follow)


def find(data_dir: Path, wanted: str) -> Source:
    """The session meant by a file's path, by an id, the first digits of one, or ``latest``.

    What has a slash is a path; so is what names a file that is there.

    Raises:
        BackendError, UsageError: no backend, no such session.
        RecordingError: the file can't be read.
    """
    if "/" in wanted or os.path.exists(wanted):
        return RecordingFile(Path(wanted))
    backend = Backend(data_dir)
    return _Stored(backend, backend.find(wanted))
