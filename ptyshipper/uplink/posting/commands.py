"""What ``posting.core`` answers: what to do, in order."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.uplink.commands import Disconnect as Disconnect
from ptyshipper.uplink.commands import Finish as Finish
from ptyshipper.uplink.commands import GiveWay as GiveWay
from ptyshipper.uplink.commands import Warn as Warn
from ptyshipper.uplink.posting.post import Entry
from ptyshipper.uplink.posting.progress import Progress


class Gather(NamedTuple):
    """Answer with Gathered; where ``to_the_end``, with what was begun and will not go on."""

    to_the_end: bool


class Post(NamedTuple):
    """Answer with Answered or Closed. Without entries it is the question whether posts are taken."""

    entries: tuple[Entry, ...]
    stamps_ms: tuple[int, ...]


class Settle(NamedTuple):
    """These are done with: taken, or left out."""

    progress: Progress


class AskForWebSocket(NamedTuple):
    """Answer with WebSocketAsked."""


Command = Gather | Post | Settle | AskForWebSocket | Disconnect | Warn | Finish | GiveWay
