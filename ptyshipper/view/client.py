"""A backend's API, as the reading commands use it; the backend is found through DIR/server.json."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from ptyshipper import statefile
from ptyshipper.errors import BackendError, ProtocolError, RecordError, UsageError
from ptyshipper.records import Kind, Record, decode, read_gap
from ptyshipper.statefile import ServerState
from ptyshipper.wire import messages
from ptyshipper.wire.closing import MEANINGS, CloseCode
from ptyshipper.wire.paths import SESSIONS_PATH

REQUEST_WITHIN_S = 10.0
MIN_PREFIX_DIGITS = 4
RECONNECT_WITHIN_S = 30.0
RECONNECT_EVERY_S = 0.5
MAX_MESSAGE_BYTES = 8 << 20
"""Of a batch to a viewer. It is one commit's chunk, of about 1 MiB at most."""

_GONE = frozenset({1006, CloseCode.GOING_AWAY, CloseCode.RESTARTING, CloseCode.STORE})
"""Closes after which a follower may find the backend again."""

_MEANINGS = {int(code): meaning for code, meaning in MEANINGS.items()}

Session = dict[str, Any]


class _Gone(BackendError):
    """The backend is not there, or went away, in a way that waiting may mend."""


class Backend:
    """The backend that DIR tells of.

    Raises:
        BackendError: from every method, where it is not there or answers nonsense.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def _state(self) -> ServerState:
        state = statefile.read(self._data_dir)
        if state is None:
            # A backend that stops takes its file away, so a follower may find the next one's there.
            raise _Gone(f"no backend runs on {self._data_dir}; start one with 'ptyshipper serve'")
        return state

    def sessions(self, limit: int, prefix: str = "") -> list[Session]:
        """The newest sessions whose id begins with these hexadecimal digits, newest first."""
        answer = self._get(f"{SESSIONS_PATH}?limit={limit}&prefix={prefix}")
        sessions = answer.get("sessions") if isinstance(answer, dict) else None
        if not isinstance(sessions, list):
            raise BackendError("the backend's list of sessions can't be understood")
        return sessions

    def find(self, wanted: str) -> Session:
        """The session meant by a whole id, the first digits of one, or ``latest``.

        Raises:
            UsageError: there is none, or more than one.
        """
        prefix = "" if wanted == "latest" else wanted.lower()
        if not all(digit in "0123456789abcdef" for digit in prefix) or len(prefix) > 32:
            raise UsageError(f"{wanted!r} is no session id: give its first digits, or 'latest'")
        if wanted != "latest" and len(prefix) < MIN_PREFIX_DIGITS:
            raise UsageError(f"give at least {MIN_PREFIX_DIGITS} digits of the session id")
        found = self.sessions(2 if prefix else 1, prefix)
        if not found:
            raise UsageError(
                f"there is no session {wanted}; 'ptyshipper sessions' lists them"
                if prefix
                else "there is no session yet"
            )
        if len(found) > 1:
            raise UsageError(f"more than one session begins with {wanted}; give more digits")
        return found[0]

    def _get(self, path: str) -> Any:
        state = self._state()
        address = urlsplit(state.url)
        try:
            connection = http.client.HTTPConnection(
                address.hostname or "", address.port, timeout=REQUEST_WITHIN_S
            )
            with closing(connection):
                connection.request("GET", path, headers=_authorization(state))
                response = connection.getresponse()
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._data_dir, state, error) from None
        if response.status != 200:
            raise BackendError(
                f"the backend at {state.url} answered {response.status} {response.reason}"
            )
        try:
            return json.loads(body)
        except ValueError:
            raise BackendError(f"what answers at {state.url} is no ptyshipper backend") from None

    def records(
        self, session_id: str, offset: int = 0, *, follow: bool = False
    ) -> Iterator[Record | Session]:
        """The records from ``offset`` on, and last the session as it is then.

        A follower outlives a restart of the backend: it goes on where it was. So does a reader who
        paused for so long that the backend gave up on it.
        """
        deadline_s: float | None = None
        while True:
            begun_s, progressed = time.monotonic(), False
            try:
                for item in self._stream(session_id, offset, follow):
                    deadline_s, progressed = None, True
                    if isinstance(item, dict):
                        yield item
                        return
                    offset, batch = item
                    yield from batch
            except _Gone as gone:
                now_s = time.monotonic()
                if deadline_s is None or now_s - begun_s > RECONNECT_WITHIN_S:
                    # A quiet session's connection was good as well, if it lasted so long.
                    deadline_s = now_s + RECONNECT_WITHIN_S
                if now_s >= deadline_s or not (follow or progressed):
                    raise BackendError(str(gone)) from None
                time.sleep(RECONNECT_EVERY_S)

    def _stream(
        self, session_id: str, offset: int, follow: bool
    ) -> Iterator[tuple[int, list[Record]] | Session]:
        """Each batch of records with the offset behind it, and the summary."""
        state = self._state()
        url = state.url.replace("http", "ws", 1)
        path = f"{SESSIONS_PATH}/{session_id}/records?from={offset}&follow={int(follow)}"
        try:
            with connect(
                url + path,
                additional_headers=_authorization(state),
                subprotocols=[Subprotocol(messages.VIEWER_SUBPROTOCOL)],
                compression=None,
                proxy=None,
                open_timeout=REQUEST_WITHIN_S,
                close_timeout=1,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=20 if follow else None,
            ) as socket:
                for raw in socket:
                    if not isinstance(raw, bytes):
                        raise BackendError(f"what answers at {url} is no ptyshipper backend")
                    message = messages.read_viewer_message(raw)
                    if isinstance(message, messages.Summary):
                        yield message.session
                        return
                    batch = list(decode(message.records))
                    gaps = [record for record in batch if record.kind == Kind.GAP]
                    spans = sum(read_gap(gap.payload).span - gap.size for gap in gaps)
                    yield message.offset + len(message.records) + spans, batch
            raise _Gone("the backend closed before the end of the session was read")
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else 1006
            said = f"the backend closed: {_MEANINGS.get(code, f'code {code}')}"
            raise (_Gone(said) if code in _GONE else BackendError(said)) from None
        except InvalidStatus as error:
            raise BackendError(
                f"the backend at {state.url} answered {error.response.status_code}"
            ) from None
        except (ProtocolError, RecordError) as error:
            raise BackendError(f"the backend sent what can't be read: {error}") from None
        except InvalidHandshake as error:
            if isinstance(error.__cause__, EOFError):
                raise _Gone(str(_unreachable(self._data_dir, state, error))) from None
            raise BackendError(f"what answers at {state.url} is no ptyshipper backend") from None
        except (OSError, WebSocketException) as error:
            raise _Gone(str(_unreachable(self._data_dir, state, error))) from None


def _authorization(state: ServerState) -> dict[str, str]:
    return {"Authorization": f"Bearer {state.view_token}"}


def _unreachable(data_dir: Path, state: ServerState, error: Exception) -> BackendError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return BackendError(
        f"the backend of {data_dir} (process {state.pid}) does not answer at {state.url}:"
        f" {reason}; start it again with 'ptyshipper serve'"
    )
