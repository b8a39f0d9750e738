"""What ``core`` is told: what happened."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.uplink.outcomes import Outcome


class Connected(NamedTuple):
    """The WebSocket is open, and the subprotocol ours."""


class WelcomeReceived(NamedTuple):
    offset: int
    window_bytes: int


class AckReceived(NamedTuple):
    offset: int


class DataCommitted(NamedTuple):
    """The spool can be read up to ``offset``."""

    offset: int


class BatchSent(NamedTuple):
    """The batch of the last SendBatch went to the network, whole; the next begins at the offset."""

    next_offset: int
    size_bytes: int
    record_count: int


class Closed(NamedTuple):
    """The attempt failed, or the connection ended."""

    outcome: Outcome


class Ticked(NamedTuple):
    """``timer_s`` was reached; harmless at any other time."""


class FinishRequested(NamedTuple):
    """The program ended and its exit record is committed: deliver by ``deadline_s``, then end."""

    deadline_s: float


Event = (
    Connected
    | WelcomeReceived
    | AckReceived
    | DataCommitted
    | BatchSent
    | Closed
    | Ticked
    | FinishRequested
)
