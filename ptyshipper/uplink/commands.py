"""What ``core`` answers: what to do, in order."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.wire.messages import ByeReason


class Connect(NamedTuple):
    """Answer with Connected or Closed."""


class Disconnect(NamedTuple):
    """Drop the connection or the attempt; no Closed is expected."""


class SendHello(NamedTuple):
    pass


class SendBatch(NamedTuple):
    """Read and send one batch from ``offset`` on; answer with BatchSent."""

    offset: int


class SendHeartbeat(NamedTuple):
    offset: int


class SendBye(NamedTuple):
    reason: ByeReason


class Release(NamedTuple):
    """Everything before ``offset`` is safe with the backend."""

    offset: int


class Warn(NamedTuple):
    text: str


class GiveWay(NamedTuple):
    """The last command: go on the other way, with posts instead of a WebSocket or the reverse."""


class Finish(NamedTuple):
    """The last command: ``delivered`` if everything was acknowledged."""

    delivered: bool


Command = (
    Connect
    | Disconnect
    | SendHello
    | SendBatch
    | SendHeartbeat
    | SendBye
    | Release
    | Warn
    | GiveWay
    | Finish
)
