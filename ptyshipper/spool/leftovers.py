"""What sessions of this spool that are no more left undelivered.

A container's volume outlives the container: after a kill -9, an out-of-memory kill or an outage
longer than the wait at exit, the next wrapper delivers, if it ships to the same backend. What others
have a hand in is left alone, and nothing in the rest is trusted: the program may write there as well.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ptyshipper.errors import SpoolError
from ptyshipper.records import HEADER_BYTES, GapCause, Kind
from ptyshipper.spool.directory import (
    UNFINISHED_PREFIX,
    SessionFolder,
    check_ours,
    own_directory,
)
from ptyshipper.spool.ledger import Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.spool.segment import (
    FILE_HEADER_BYTES,
    MAX_FILE_BYTES,
    FileSegment,
    Mark,
    file_name,
    load,
)

MAX_AGE_S = 7 * 24 * 3600.0
"""What no backend took for so long is deleted."""

MAX_FOLDERS = 256
"""So many dead sessions are kept, however small: each costs the next start a look."""

_UNFINISHED_S = 60.0
"""So long a wrapper may take, at most, to make its folder, or to take it away."""

_MAX_SEGMENTS = 65_536
_SESSION_NAME = re.compile(r"[0-9a-f]{32}")


class Leftover:
    """A dead session, locked for us: deliver what ``ledger`` holds, then ``delete``, else ``close``.

    ``has_exited``: its last record is the program's exit; else its wrapper died before that.
    ``size_bytes`` is what it takes of the disk.
    """

    def __init__(
        self,
        folder: SessionFolder,
        session_id: bytes,
        description: dict[str, Any],
        segments: list[FileSegment],
    ) -> None:
        self.session_id = session_id
        self.description = description
        self.ledger = Ledger()
        self.notes = Notes(folder.path)
        self.has_exited = False
        self._folder = folder
        self.size_bytes = folder.size_bytes()
        for segment in segments:
            self.ledger.add(segment)
        self._newest = segments[-1] if segments else None
        if self._newest is not None:
            self._file_end_offset = self._newest.end_offset
            self._survey(self._newest, self._newest.start)
        self._count_damaged_end({segment.path for segment in segments})

    def take_up(self, offset: int) -> None:
        """The backend holds the session up to ``offset``: move the head behind what follows there.

        That is so where the survey took for a torn tail what was damaged after it had been sent.
        """
        newest = self._newest
        if newest is not None and self.ledger.head.offset < offset < self._file_end_offset:
            newest.end_offset = self._file_end_offset
            head = self.ledger.head
            self._survey(newest, _with_lost(head, offset - head.offset))

    def _survey(self, newest: FileSegment, start: Mark) -> None:
        """Find the head: the end of ``newest``, without a torn tail. ``start`` is known to be good."""
        self.ledger.head = Mark(newest.end_offset, 0, 0)
        reader = SpoolReader(self.ledger)
        end, last_kind = reader.survey(newest, start)
        if reader.is_torn(newest, end.offset):
            newest.end_offset = end.offset
            self.has_exited = last_kind == Kind.EXITED
        reader.close()
        self.ledger.head = _with_lost(end, newest.end_offset - end.offset)

    def _count_damaged_end(self, whole: set[str]) -> None:
        """Move the head behind files that hold records but no header, for a gap up to there.

        How much of the program's output was in them nobody knows any more: at most so much. Of
        those that are ``whole`` the newest may begin at the head, if its first record is torn.
        """
        for path in self._folder.segment_paths():
            head = self.ledger.head
            if path in whole or os.path.basename(path) != file_name(head.offset):
                continue
            found = os.lstat(path)
            size_bytes = found.st_size - FILE_HEADER_BYTES
            if stat.S_ISREG(found.st_mode) and 0 < size_bytes <= MAX_FILE_BYTES:
                self.has_exited = False
                self.ledger.head = _with_lost(head, size_bytes)

    def delete(self) -> None:
        """It was delivered."""
        self.ledger.close()
        self._folder.delete()

    def close(self) -> None:
        """It stays for another start."""
        self.ledger.close()
        self._folder.close()


def claim_all(directory: Path, endpoint: str) -> Iterator[Leftover]:
    """Each dead session of the spool that is for this backend, oldest first, locked one at a time.

    The caller ends one, by ``delete`` or ``close``, before it asks for the next. What another
    successor is delivering, what is for another backend, and what is no session, is passed over.
    """
    for _, folder in _claimed(_candidates(directory, 0.0), 0.0):
        try:
            if _is_empty(folder):
                folder.delete()
                continue
            leftover = _open(folder, endpoint)
        except (SpoolError, OSError):
            folder.close()
        else:
            yield leftover


def prune(directory: Path, max_bytes: int, now_s: float) -> int:
    """Bound what the dead leave behind: delete the oldest until they hold at most ``max_bytes``.

    ``now_s`` is Unix time: what is older than ``MAX_AGE_S`` goes as well, and of more than
    ``MAX_FOLDERS`` the oldest. The living are not counted. The newest stays whatever it holds: it
    had the same bound while it lived. Returns what is still held.
    """
    held_bytes = count = 0
    found = _candidates(directory, unfinished_until_s=now_s - _UNFINISHED_S)
    for modified_s, folder in _claimed(reversed(found), abandoned_until_s=now_s - _UNFINISHED_S):
        size_bytes = folder.size_bytes()
        if (
            (count and held_bytes + size_bytes > max_bytes)
            or count == MAX_FOLDERS
            or now_s - modified_s > MAX_AGE_S
        ):
            folder.delete()
            max_bytes = min(max_bytes, held_bytes)  # nothing older stays
        else:
            held_bytes, count = held_bytes + size_bytes, count + 1
            folder.close()
    return held_bytes


def _claimed(
    candidates: Iterable[tuple[float, str]], abandoned_until_s: float
) -> Iterator[tuple[float, SessionFolder]]:
    """Those that are dead, each locked and the caller's to end.

    A folder without a description has no lock. Its wrapper was killed while it made it or took it
    away, and one that has not changed since ``abandoned_until_s`` is nobody's.
    """
    for modified_s, path in candidates:
        try:
            folder = SessionFolder.claim(path)
        except FileNotFoundError:
            folder = SessionFolder(path, -1) if modified_s < abandoned_until_s else None
        except OSError:
            continue
        if folder is not None:
            yield modified_s, folder


def _candidates(directory: Path, unfinished_until_s: float) -> list[tuple[float, str]]:
    """Folders that are named as a session's, oldest first, with when they last changed.

    Of those that never got their name only the ones that have not changed since: the others'
    wrappers may be at it, and not have the lock yet.
    """
    found = []
    own = own_directory(directory)
    try:
        check_ours(own)
        with os.scandir(own) as entries:
            for entry in entries:
                name = entry.name.removeprefix(UNFINISHED_PREFIX)
                if _SESSION_NAME.fullmatch(name) and entry.is_dir(follow_symlinks=False):
                    modified_s = entry.stat(follow_symlinks=False).st_mtime
                    if name == entry.name or modified_s < unfinished_until_s:
                        found.append((modified_s, entry.path))
    except OSError:
        pass  # no directory, or one that is not ours alone: nothing to deliver from it
    return sorted(found)


def _is_empty(folder: SessionFolder) -> bool:
    """Its wrapper was killed before there was a record, or a backend to send it to."""
    return folder.endpoint() is None and not folder.segment_paths()


def _open(folder: SessionFolder, endpoint: str) -> Leftover:
    """What is in a folder.

    Raises:
        SpoolError, OSError: it holds no session, is for another backend, or can't be read.
    """
    if folder.endpoint() != endpoint:
        raise SpoolError(f"{folder.path} is for another backend")
    session_id = bytes.fromhex(os.path.basename(folder.path))
    return Leftover(folder, session_id, folder.description(), _load_segments(folder, session_id))


def _with_lost(head: Mark, size_bytes: int) -> Mark:
    """The mark behind so many bytes of records that can't be read; at most that much output."""
    lost_bytes = max(0, size_bytes - HEADER_BYTES)
    return Mark(head.offset + size_bytes, head.output_bytes + lost_bytes, head.time_us)


def _load_segments(folder: SessionFolder, session_id: bytes) -> list[FileSegment]:
    """The segments of a folder, oldest first, without those that are damaged or overlap."""
    segments: list[FileSegment] = []
    damaged = False
    for path in folder.segment_paths()[:_MAX_SEGMENTS]:
        try:
            segment = load(path, session_id)
        except (SpoolError, OSError):
            damaged = True
            continue
        if segments:
            # A disk that failed in mid-record and would not be truncated leaves a torn tail here.
            previous = segments[-1]
            previous.end_offset = min(previous.end_offset, segment.start.offset)
        if damaged:
            segment.cause = GapCause.CORRUPT
            damaged = False
        segments.append(segment)
    return segments
