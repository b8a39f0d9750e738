"""What each way to fail means for trying again: one table, in four parts.

``STATUSES`` and ``STATUS_RANGES`` tell of the answer to the upgrade, ``CLOSE_CODES`` and
``CLOSE_RANGES`` of the end of a WebSocket, ``POST_STATUSES`` of the answer to a post where it differs
from that to an upgrade, ``TROUBLES`` of everything below and beside them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ptyshipper.wire.closing import MEANINGS, CloseCode, retry_after_s


class Action(Enum):
    """What to do after a failure."""

    RETRY = "retry"  # soon, with backoff: it passes
    SLOW = "slow"  # every minute or two: somebody has to mend something first
    FALLBACK = "fallback"  # the other way, posts or a WebSocket, if that is possible, else as SLOW
    GIVE_UP = "give up"  # never: trying again would do harm or can't help


class Refusal(Enum):
    """What of a post is refused."""

    OF_CONTENT = "content"  # something that is in it
    MAYBE_OF_CONTENT = "maybe content"  # that, or it may as well be the backend's own trouble
    OF_ALL = "all"  # any post would have been


class Trouble(Enum):
    """A failure that has neither an HTTP status nor a close code."""

    NO_SUCH_HOST = "no such host"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    LOST = "lost"
    CERTIFICATE = "certificate"
    CA_FILE = "CA file"
    TLS = "TLS"
    NOT_HTTP = "not HTTP"
    NOT_OURS = "not ours"
    BROKEN_PROTOCOL = "broken protocol"
    NO_WELCOME = "no welcome"
    SILENT = "silent"
    AHEAD = "ahead"


class Outcome(NamedTuple):
    """How an attempt or a connection ended.

    ``cause`` tells one warning from another, ``reason`` is half a sentence for a person, and
    ``retry_after_s`` is what the backend asked for.
    """

    action: Action
    cause: str
    reason: str
    retry_after_s: float = 0.0


MAX_RETRY_AFTER_S = 300.0
"""No answer puts us off for longer: it may be a mistake, and a spool is bounded."""

_NO_WEBSOCKET = "the endpoint speaks no WebSocket"
_NO_POSTS = "nothing takes posts there"

STATUSES: dict[int, tuple[Action, str]] = {
    400: (Action.FALLBACK, _NO_WEBSOCKET),
    401: (Action.SLOW, "the token is not accepted"),
    403: (Action.SLOW, "the token is not accepted here"),
    404: (Action.FALLBACK, _NO_WEBSOCKET),
    405: (Action.FALLBACK, _NO_WEBSOCKET),
    408: (Action.RETRY, "the backend was too slow to answer"),
    425: (Action.RETRY, "the backend asks to come again"),
    426: (Action.FALLBACK, _NO_WEBSOCKET),
    429: (Action.RETRY, "the backend is asked too much"),
    501: (Action.FALLBACK, _NO_WEBSOCKET),
    503: (Action.RETRY, "the backend is not available"),
}
STATUS_RANGES: dict[int, tuple[Action, str]] = {
    1: (Action.SLOW, "the answer is no HTTP"),
    2: (Action.FALLBACK, _NO_WEBSOCKET),
    # The token must not follow to wherever a redirect points.
    3: (Action.SLOW, "the endpoint redirects elsewhere; set the address that it redirects to"),
    4: (Action.SLOW, "the backend refuses"),
    5: (Action.RETRY, "the backend failed"),
}

POST_STATUSES: dict[int, tuple[Action, str]] = {
    400: (Action.SLOW, "what is posted is refused"),
    404: (Action.FALLBACK, _NO_POSTS),
    405: (Action.FALLBACK, _NO_POSTS),
    413: (Action.SLOW, "even an empty post is too large"),
    422: (Action.SLOW, "what is posted is refused"),
    426: (Action.FALLBACK, _NO_POSTS),
    501: (Action.FALLBACK, _NO_POSTS),
}
REFUSALS: dict[int, Refusal] = {
    400: Refusal.OF_CONTENT,
    413: Refusal.OF_CONTENT,
    422: Refusal.OF_CONTENT,
    500: Refusal.MAYBE_OF_CONTENT,
}

CLOSE_CODES: dict[int, Action] = {
    CloseCode.DONE: Action.RETRY,
    CloseCode.GOING_AWAY: Action.RETRY,
    CloseCode.MESSAGE_TOO_BIG: Action.SLOW,
    CloseCode.INTERNAL: Action.RETRY,
    CloseCode.RESTARTING: Action.RETRY,
    CloseCode.TRY_LATER: Action.RETRY,
    CloseCode.MALFORMED: Action.SLOW,
    CloseCode.UNAUTHORIZED: Action.SLOW,
    CloseCode.FORBIDDEN: Action.SLOW,
    CloseCode.NOT_FOUND: Action.SLOW,
    CloseCode.VERSION: Action.SLOW,
    CloseCode.TOO_SLOW: Action.RETRY,
    # The later connection wins, and we hold just one: so another process sends this session.
    CloseCode.REPLACED: Action.GIVE_UP,
    CloseCode.ENDED: Action.GIVE_UP,
    CloseCode.OFFSET: Action.RETRY,  # the next WELCOME says where to go on
    CloseCode.RECORD: Action.SLOW,
    CloseCode.TOO_MANY: Action.RETRY,
    CloseCode.STORE: Action.RETRY,
}
CLOSE_RANGES: dict[int, Action] = {
    1: Action.RETRY,
    2: Action.SLOW,
    3: Action.SLOW,
    4: Action.SLOW,
}

TROUBLES: dict[Trouble, tuple[Action, str]] = {
    Trouble.NO_SUCH_HOST: (Action.RETRY, "the host's name can't be resolved"),
    Trouble.UNREACHABLE: (Action.RETRY, "unreachable"),
    Trouble.TIMED_OUT: (Action.RETRY, "no answer in time"),
    Trouble.LOST: (Action.RETRY, "the connection was lost"),
    Trouble.CERTIFICATE: (Action.SLOW, "its certificate can't be verified"),
    Trouble.CA_FILE: (Action.SLOW, "the CA file can't be used"),
    Trouble.TLS: (Action.RETRY, "TLS failed"),
    Trouble.NOT_HTTP: (Action.RETRY, "the answer is no HTTP"),
    Trouble.NOT_OURS: (Action.SLOW, "the endpoint is no ptyshipper backend"),
    Trouble.BROKEN_PROTOCOL: (Action.RETRY, "the backend broke the protocol"),
    Trouble.NO_WELCOME: (Action.RETRY, "the backend does not answer"),
    Trouble.SILENT: (Action.RETRY, "the backend stopped answering"),
    Trouble.AHEAD: (Action.GIVE_UP, "the backend holds more of this session than there is"),
}


def of_status(status: int, retry_after_s: float = 0.0) -> Outcome:
    """The upgrade was answered with this status, and the wish to come again after so long."""
    return _of_status(status, STATUSES.get(status), retry_after_s)


def of_post_status(status: int, retry_after_s: float = 0.0) -> Outcome:
    """A post was answered with this status, which means that it was not taken."""
    return _of_status(status, POST_STATUSES.get(status) or STATUSES.get(status), retry_after_s)


def refusal_of(status: int) -> Refusal | None:
    """What a post's status says was refused; None: it was taken."""
    return None if 200 <= status < 300 else REFUSALS.get(status, Refusal.OF_ALL)


def _of_status(status: int, row: tuple[Action, str] | None, retry_after_s: float) -> Outcome:
    action, reason = row or STATUS_RANGES.get(status // 100, (Action.SLOW, "the answer is no HTTP"))
    return Outcome(action, f"status {status}", f"{reason} (HTTP {status})", retry_after_s)


def of_close(code: int | None, said: str = "") -> Outcome:
    """The WebSocket was closed with this code, for the reason ``said``; None: without one."""
    if code is None:
        return of_trouble(Trouble.LOST)
    action = CLOSE_CODES.get(code) or CLOSE_RANGES.get(code // 1000, Action.RETRY)
    try:
        meaning = MEANINGS[CloseCode(code)]
    except ValueError:
        meaning = "the backend closed the connection"
    pause_s = min(float(retry_after_s(said)), MAX_RETRY_AFTER_S)
    return Outcome(action, f"close {code}", f"{meaning} (close code {code})", pause_s)


def of_trouble(trouble: Trouble, detail: str = "") -> Outcome:
    """Something else failed; ``detail`` is the system's word for it, instead of ours."""
    action, reason = TROUBLES[trouble]
    if detail and trouble in (Trouble.CERTIFICATE, Trouble.CA_FILE, Trouble.TLS):
        reason = f"{reason}: {detail}"
    elif detail:
        reason = detail
    return Outcome(action, trouble.value, reason)
