"""A session to deliver, and what is agreed for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ptyshipper.spool.ledger import Ledger
from ptyshipper.spool.notes import Notes
from ptyshipper.wire.messages import ByeReason


class Plan(NamedTuple):
    """What is delivered, and how.

    ``live``: more records may come until FinishRequested; else all there is was committed before the
    start. ``bye``: how to say goodbye when everything was acknowledged. ``window_bytes``: the spool's
    bound on what is unacknowledged. ``spare_bytes``: what of the spool may fill up in a flood before
    it is shipped with all there is. ``max_failures``: end after so many in a row without an ack.
    ``name`` is what warnings call the backend; None for no warnings at all. ``may_post``: a backend that
    speaks no WebSocket gets posts; else ``hindrance`` is why not, for the warning.
    """

    live: bool
    bye: ByeReason
    window_bytes: int
    spare_bytes: int
    max_failures: int | None
    name: str | None
    may_post: bool = False
    hindrance: str = ""


def _nothing_more(offset: int) -> None:
    """All that there is lies before the head."""


class Consignment(NamedTuple):
    """The session to deliver. ``data_fd`` is readable when its head moved; -1 if that can't be.

    ``notes`` are for who posts its lines. ``take_up`` is called with a WELCOME's offset that is beyond
    the head, to move the head if more is held behind that.
    """

    session_id: bytes
    description: dict[str, Any]
    ledger: Ledger
    data_fd: int
    plan: Plan
    notes: Notes
    take_up: Callable[[int], None] = _nothing_more
