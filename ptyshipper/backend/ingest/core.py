"""What one shipper's connection may say, and what follows. Pure: events in, commands out.

State      HELLO         BATCH         BYE           committed     silence
---------  ------------  ------------  ------------  ------------  -----------------
OPENING    FINDING, and  4400          4400          -             4408 after 10 s
           Open
FINDING    4400          4400          4400          -             4408 after 90 s
OPEN       4400          Append or     LEAVING, and  Acknowledge   4408 after 90 s
                         Acknowledge   MarkCut
LEAVING    4400          4400          4400          Acknowledge,  4408 after 90 s
                                                     Close 1000
CLOSED     -             -             -             -             -

``Open`` is answered by ``opened``, which leads to OPEN. A goodbye with nothing left to store closes at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, assert_never

from ptyshipper.backend.digest import NO_LINES, Digest, OpenLines, digest
from ptyshipper.backend.ingest.post import POSTED
from ptyshipper.backend.session import Description, read_description
from ptyshipper.errors import ProtocolError
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import Batch, Bye, ByeReason, Hello

HELLO_WITHIN_S = 10.0
SILENCE_S = 90.0

MAX_WINDOW_BYTES = 1 << 20
MIN_WINDOW_BYTES = 128 << 10
WINDOW_BUDGET_BYTES = 64 << 20


class State(Enum):
    OPENING = auto()
    FINDING = auto()
    OPEN = auto()
    LEAVING = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Open:
    """Find or make the session, and answer with ``opened``."""

    session_id: bytes
    description: Description


@dataclass(frozen=True, slots=True)
class Append:
    """Store these records; ``committed`` when they are durable."""

    offset: int
    records: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Send an ACK of this offset; a later one may take its place while it waits."""

    offset: int


@dataclass(frozen=True, slots=True)
class MarkCut:
    """Store that the session's wrapper died without an exit record; ``committed`` when it is."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; nothing follows."""

    code: CloseCode
    reason: str


Command = Open | Append | Send | Acknowledge | MarkCut | Close


def window_bytes(connections: int) -> int:
    """How much each of so many shippers may leave unacknowledged."""
    share = WINDOW_BUDGET_BYTES // max(1, connections)
    return max(MIN_WINDOW_BYTES, min(MAX_WINDOW_BYTES, share))


class Ingest:
    """One connection of a shipper, from the upgrade to the close. ``now_s`` is any steady clock."""

    __slots__ = (
        "_acknowledged_offset",
        "_deadline_s",
        "_exited",
        "_offset",
        "_open_lines",
        "_uncommitted_bytes",
        "_window_bytes",
        "state",
    )

    def __init__(self, now_s: float) -> None:
        self.state = State.OPENING
        self._deadline_s = now_s + HELLO_WITHIN_S
        self._offset = 0
        self._acknowledged_offset = 0
        self._uncommitted_bytes = 0
        self._window_bytes = 0
        self._open_lines = NO_LINES
        self._exited = False

    @property
    def uncommitted_bytes(self) -> int:
        """Of records, that wait to be stored."""
        return self._uncommitted_bytes

    def received(self, message: bytes | str, now_s: float) -> list[Command]:
        """A WebSocket message came; text is refused."""
        if self.state is State.CLOSED:
            return []
        try:
            if isinstance(message, str):
                raise ProtocolError(CloseCode.MALFORMED, "a text message")
            said = messages.read_shipper_message(message)
            match said:
                case Hello():
                    return self._hello(said.session_id, said.description, now_s)
                case Batch():
                    return self._batch(said.offset, said.records, now_s)
                case Bye():
                    return self._bye(said.reason)
                case _:
                    assert_never(said)
        except ProtocolError as error:
            return self.closed(CloseCode(error.code), error.reason)

    def _hello(self, session_id: bytes, description: dict[str, Any], now_s: float) -> list[Command]:
        if self.state is not State.OPENING:
            raise ProtocolError(CloseCode.MALFORMED, "a second HELLO")
        if session_id.endswith(POSTED):
            raise ProtocolError(CloseCode.FORBIDDEN, "ids of that form are for posts")
        about = read_description(description)
        self.state = State.FINDING
        self._deadline_s = now_s + SILENCE_S
        return [Open(session_id, about)]

    def opened(
        self,
        next_offset: int,
        exited: bool,
        open_lines: OpenLines,
        window_bytes: int,
        now_s: float,
    ) -> list[Command]:
        """The session is stored up to ``next_offset``; ``exited``: its exit record too."""
        if self.state is not State.FINDING:
            return []
        self.state = State.OPEN
        self._offset = self._acknowledged_offset = next_offset
        self._exited = exited
        self._open_lines = open_lines
        self._window_bytes = window_bytes
        self._deadline_s = now_s + SILENCE_S
        return [Send(messages.welcome(next_offset, window_bytes))]

    def _batch(self, offset: int, records: bytes, now_s: float) -> list[Command]:
        if self.state is not State.OPEN:
            raise ProtocolError(CloseCode.MALFORMED, "a BATCH before HELLO or after BYE")
        if offset != self._offset:
            raise ProtocolError(
                CloseCode.OFFSET, f"a batch at {offset}, where {self._offset} is the next"
            )
        self._deadline_s = now_s + SILENCE_S
        if not records:
            # With something uncommitted, the ACK of that answers the heartbeat as well.
            return [] if self._uncommitted_bytes else [Acknowledge(self._acknowledged_offset)]
        if self._exited:
            raise ProtocolError(CloseCode.ENDED, "a record behind the exit record")
        if self._uncommitted_bytes + len(records) > self._window_bytes:
            raise ProtocolError(
                CloseCode.TOO_MANY, f"over {self._window_bytes} bytes unacknowledged"
            )
        batch = digest(records, offset, self._open_lines)
        self._uncommitted_bytes += len(records)
        self._offset = batch.end_offset
        self._open_lines = batch.open_lines
        self._exited = batch.exited is not None
        return [Append(offset, records, batch)]

    def _bye(self, reason: ByeReason) -> list[Command]:
        if self.state is not State.OPEN:
            raise ProtocolError(CloseCode.MALFORMED, "a BYE before HELLO or after BYE")
        self.state = State.LEAVING
        if reason is ByeReason.CUT and not self._exited:
            return [MarkCut()]
        return [] if self._uncommitted_bytes else self.closed(CloseCode.DONE, "")

    def committed(self, offset: int, stored_bytes: int) -> list[Command]:
        """Everything before ``offset`` is durable, ``stored_bytes`` of records more than before; where
        it is 0, the session's state is."""
        if self.state not in (State.OPEN, State.LEAVING):
            return []
        commands: list[Command] = []
        if stored_bytes:
            self._acknowledged_offset = offset
            self._uncommitted_bytes -= stored_bytes
            commands.append(Acknowledge(offset))
        if self.state is State.LEAVING and self._uncommitted_bytes == 0:
            commands += self.closed(CloseCode.DONE, "")
        return commands

    def tick(self, now_s: float) -> list[Command]:
        """Time has passed."""
        if self.state is State.CLOSED or now_s < self._deadline_s:
            return []
        what = "no HELLO within 10 s" if self.state is State.OPENING else "nothing heard for 90 s"
        return self.closed(CloseCode.TOO_SLOW, what)

    def closed(self, code: CloseCode, reason: str) -> list[Command]:
        """The backend has its reason to close; nothing that comes after it counts."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        return [Close(code, reason)]
