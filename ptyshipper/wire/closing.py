"""Every WebSocket close code that this protocol gives a meaning to, in one table.

The backend closes with these; what a shipper does on each is ``uplink.outcomes``' matter. The reason of
a close may ask the peer to stay away for a time.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a connection was closed. ``MEANINGS`` says it in words."""

    DONE = 1000
    GOING_AWAY = 1001
    MESSAGE_TOO_BIG = 1009
    INTERNAL = 1011
    RESTARTING = 1012
    TRY_LATER = 1013
    MALFORMED = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    VERSION = 4406
    TOO_SLOW = 4408
    REPLACED = 4409
    ENDED = 4410
    OFFSET = 4416
    RECORD = 4422
    TOO_MANY = 4429
    STORE = 4503


MEANINGS: dict[CloseCode, str] = {
    CloseCode.DONE: "everything was said; after BYE",
    CloseCode.GOING_AWAY: "the peer is going away",
    CloseCode.MESSAGE_TOO_BIG: "a message was larger than its limit",
    CloseCode.INTERNAL: "the backend failed unexpectedly",
    CloseCode.RESTARTING: "the backend restarts; come back",
    CloseCode.TRY_LATER: "the backend is full; come back later",
    CloseCode.MALFORMED: "a message could not be read, or came where it may not",
    CloseCode.UNAUTHORIZED: "the token is not, or no longer, accepted",
    CloseCode.FORBIDDEN: "the token may not be used for this session",
    CloseCode.NOT_FOUND: "there is no such session",
    CloseCode.VERSION: "this version of the protocol is not spoken",
    CloseCode.TOO_SLOW: "the peer said nothing for too long",
    CloseCode.REPLACED: "another connection of this session took over",
    CloseCode.ENDED: "the session has ended; nothing can follow its exit record",
    CloseCode.OFFSET: "a batch does not begin where the backend's copy ends",
    CloseCode.RECORD: "a record is torn, damaged or impossible",
    CloseCode.TOO_MANY: "too much in too short a time",
    CloseCode.STORE: "the store can't write at the moment",
}

_RETRY_AFTER = "; retry after "


def asking_to_wait(reason: str, retry_after_s: int) -> str:
    """The reason of a close that asks the peer not to come back for so many seconds."""
    return f"{reason}{_RETRY_AFTER}{retry_after_s} s"


def retry_after_s(reason: str) -> int:
    """For how long the reason of a close asks the peer to stay away, in seconds; 0 where it does not."""
    _, found, end = reason.rpartition(_RETRY_AFTER)
    number = end.removesuffix(" s")
    is_number = number.isascii() and number.isdigit() and len(number) <= 9
    return int(number) if found and number != end and is_number else 0
