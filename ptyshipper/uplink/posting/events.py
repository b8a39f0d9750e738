"""What ``posting.core`` is told beside what every core is."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.uplink.events import Closed as Closed
from ptyshipper.uplink.events import DataCommitted as DataCommitted
from ptyshipper.uplink.events import FinishRequested as FinishRequested
from ptyshipper.uplink.events import Ticked as Ticked
from ptyshipper.uplink.posting.post import Entry


class Gathered(NamedTuple):
    """What the next post takes, maybe nothing. ``is_full``: there is more already.

    ``settled_offset``: everything before it is in these lines or in those before. ``terminals``: see
    Progress.
    """

    entries: tuple[Entry, ...]
    is_full: bool
    settled_offset: int
    terminals: int


class Answered(NamedTuple):
    """A post was answered; ``retry_after_s`` is what the answer asked for."""

    status: int
    retry_after_s: float = 0.0


class WebSocketAsked(NamedTuple):
    is_there: bool


Event = Gathered | Answered | WebSocketAsked | DataCommitted | Closed | Ticked | FinishRequested
