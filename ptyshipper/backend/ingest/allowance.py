"""What each deployment may bring, and all of them together. Pure: amounts and the time in, verdicts out.

A process judges by what it sees itself: with several replicas, each grants as much. Nothing that is refused
is lost: it stays in the shipper's spool, and comes again when the refusal says.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import NamedTuple

from ptyshipper.wire.closing import CloseCode, asking_to_wait
from ptyshipper.wire.messages import MAX_BATCH_BYTES

WAITING_BYTES = 64 << 20
"""So many bytes of records may wait for their commit, of all sessions together: a store that hangs must not
fill the memory. The windows alone promise more than that (``core.window_bytes``)."""
BULK_WAITING_BYTES = WAITING_BYTES * 3 // 4
"""Beyond that, only sessions that have no more than a batch waiting bring more: a line of a quiet program
gets in while others flood."""
BURST_S = 4.0
"""Who was quiet may bring at once what the rate allows in so long."""
SESSIONS_RETRY_S = 10
FULL_RETRY_S = 2
RESTART_RETRY_S = 1


_STATUSES = {
    CloseCode.RESTARTING: HTTPStatus.SERVICE_UNAVAILABLE,
    CloseCode.TRY_LATER: HTTPStatus.SERVICE_UNAVAILABLE,
    CloseCode.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
}


class Limits(NamedTuple):
    """Of one deployment; None: without such a bound."""

    max_sessions: int | None = None
    max_rate_bytes_per_s: int | None = None


class Refusal(NamedTuple):
    """Why something is not taken, in a word for the metrics and one line for the shipper."""

    cause: str
    code: CloseCode
    about: str
    retry_after_s: int

    @property
    def reason(self) -> str:
        """Of the close."""
        return asking_to_wait(self.about, self.retry_after_s)

    @property
    def status(self) -> HTTPStatus:
        """What says the same where there is no WebSocket yet, or none at all."""
        return _STATUSES[self.code]


RESTARTING = Refusal("restarting", CloseCode.RESTARTING, "the backend restarts", RESTART_RETRY_S)
FULL = Refusal("full", CloseCode.TRY_LATER, "too much waits to be stored", FULL_RETRY_S)
SESSIONS = Refusal(
    "sessions", CloseCode.TOO_MANY, "the deployment has too many sessions", SESSIONS_RETRY_S
)


class Bucket:
    """``rate`` flows in each second, until there is as much as in ``BURST_S``.

    Whoever finds something in it may take more than that: the debt is paid off before the next one may.
    """

    __slots__ = ("_filled_s", "_level", "_rate")

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._level = rate * BURST_S
        self._filled_s = now_s

    def take(self, amount: float, now_s: float) -> bool:
        """Whether it could be taken."""
        self._fill(now_s)
        if self._level <= 0:
            return False
        self._level -= amount
        return True

    def wait_s(self, now_s: float) -> float:
        """For how long to stay away: until it is half full, where it is empty; 0 where it is not."""
        self._fill(now_s)
        if self._level > 0:
            return 0.0
        return BURST_S / 2 - self._level / self._rate

    def is_full(self, now_s: float) -> bool:
        self._fill(now_s)
        return self._level >= self._rate * BURST_S

    def _fill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._filled_s)
        self._level = min(self._rate * BURST_S, self._level + passed_s * self._rate)
        self._filled_s += passed_s


class _Account:
    """Of one deployment: its sessions that are connected, and what it may bring."""

    __slots__ = ("bucket", "sessions")

    def __init__(self, bucket: Bucket | None) -> None:
        self.bucket = bucket
        self.sessions = 0


class Allowance:
    """Judges sessions and batches. ``now_s`` is any steady clock, ``waiting_bytes`` what waits for its
    commit in this process by now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[int | None, _Account] = {}

    def connect(
        self, deployment_id: int | None, waiting_bytes: int, now_s: float
    ) -> Refusal | None:
        """At the upgrade. ``deployment_id`` None: not known yet.

        Not judged by their number: this may be one that is back before its last connection is found dead.
        """
        if waiting_bytes >= WAITING_BYTES:
            return FULL
        account = None if deployment_id is None else self._accounts.get(deployment_id)
        return None if account is None else _over_rate(account, now_s)

    def open(
        self, deployment_id: int | None, takes_over: bool, waiting_bytes: int, now_s: float
    ) -> Refusal | None:
        """A session wants in; if it may, ``close`` is called later. ``takes_over``: it is connected."""
        if waiting_bytes >= WAITING_BYTES:
            return FULL
        account = self._account(deployment_id, now_s)
        limit = self._limits.max_sessions
        if limit is not None and account.sessions >= limit and not takes_over:
            return SESSIONS
        refusal = _over_rate(account, now_s)
        if refusal is None:
            account.sessions += 1
        return refusal

    def close(self, deployment_id: int | None) -> None:
        """A session that ``open`` let in has left."""
        self._accounts[deployment_id].sessions -= 1

    def bring(
        self,
        deployment_id: int | None,
        batch_bytes: int,
        own_bytes: int,
        waiting_bytes: int,
        now_s: float,
    ) -> Refusal | None:
        """A session that was let in brings a batch. ``own_bytes``: what of its own waits, with this one."""
        is_bulk = own_bytes > MAX_BATCH_BYTES
        if waiting_bytes + batch_bytes > (BULK_WAITING_BYTES if is_bulk else WAITING_BYTES):
            return FULL
        account = self._account(deployment_id, now_s)
        if account.bucket is None or account.bucket.take(batch_bytes, now_s):
            return None
        return _over_rate(account, now_s)

    def forget_idle(self, now_s: float) -> None:
        """Keep nothing about deployments that are as if they had never been here."""
        idle = [
            deployment_id
            for deployment_id, account in self._accounts.items()
            if not account.sessions and (account.bucket is None or account.bucket.is_full(now_s))
        ]
        for deployment_id in idle:
            del self._accounts[deployment_id]

    def _account(self, deployment_id: int | None, now_s: float) -> _Account:
        account = self._accounts.get(deployment_id)
        if account is None:
            rate = self._limits.max_rate_bytes_per_s
            account = _Account(None if rate is None else Bucket(rate, now_s))
            self._accounts[deployment_id] = account
        return account


def _over_rate(account: _Account, now_s: float) -> Refusal | None:
    wait_s = 0.0 if account.bucket is None else account.bucket.wait_s(now_s)
    if wait_s == 0:
        return None
    about = "the deployment sends too much"
    return Refusal("rate", CloseCode.TOO_MANY, about, math.ceil(wait_s))
