"""Every error this package raises on purpose.

::

    PtyshipperError
    ├── UsageError            the command line or a setting is wrong        (exit 2)
    ├── SpawnError            the program could not be started              (exit 126 or 127)
    ├── RecordError           bytes that are not a record
    │   ├── RecordTruncated   more bytes may still make it one
    │   └── RecordCorrupt     no further byte can mend it
    ├── ProtocolError         the peer broke the wire protocol; has the close code to answer with
    ├── SpoolError            the spool can't be used where it is
    ├── RecordingError        a file that is no recording, or a damaged one
    └── BackendError          a backend can't be found, reached or understood  (exit 1)
        ├── StoreError        its store can't be read or written at the moment
        └── StoreOutdated     its store is an earlier version's

Fields hold the facts, ``str()`` is one line for a person: what happened, where, what to do.
"""

from __future__ import annotations


class PtyshipperError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what cli.py ends with."""

    exit_code = 1


class UsageError(PtyshipperError):
    """The command line or a setting is wrong."""

    exit_code = 2


class SpawnError(PtyshipperError):
    """The program could not be started.

    Args:
        stage: what was being tried, for example ``"exec"`` or ``"chdir"``.
        errno: the system's error number.
        reason: one line for a person.
    """

    def __init__(self, stage: str, errno: int, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.stage = stage
        self.errno = errno
        self.exit_code = exit_code


class RecordError(PtyshipperError):
    """Bytes that are not a record."""


class RecordTruncated(RecordError):
    """The bytes end inside a record: at the end of a file a torn tail, on the wire a lie."""


class RecordCorrupt(RecordError):
    """The bytes can't be a record whatever follows."""


class ProtocolError(PtyshipperError):
    """The peer broke the wire protocol.

    Args:
        code: the WebSocket close code to answer with (``wire.closing``).
        reason: one line, without anything the peer sent verbatim.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SpoolError(PtyshipperError):
    """The spool can't be used where it is."""


class RecordingError(PtyshipperError):
    """A file is no recording, or a damaged one."""


class BackendError(PtyshipperError):
    """A backend can't be found, reached or understood."""


class StoreError(BackendError):
    """The backend's store can't be read or written at the moment: full, locked, damaged."""


class StoreOutdated(BackendError):
    """The backend's store is new or an earlier version's, and may only be changed by who has it alone."""
