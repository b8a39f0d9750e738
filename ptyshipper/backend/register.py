"""The store's tokens as they were a moment ago, and which connections each of them holds open.

All of them are read at once, however many ask: neither a flood of wrong tokens nor ten thousand
shippers that come back together are more than two reads a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ptyshipper.backend.credentials import (
    LINK_FOR_US,
    Kind,
    ended_us,
    hash_of,
    is_good,
    issue,
    looks_like,
)
from ptyshipper.backend.store.base import Store, Token
from ptyshipper.wire.paths import LOGIN_PATH

FRESH_FOR_S = 2.0
"""So long a revoked token may still be accepted."""
READ_EVERY_S = 0.5
"""More often the store is not asked, whoever waits: a token that is not known yet may be new."""
KEPT_AFTER_END_US = 7 * 86_400_000_000
"""``token list`` shows for so long what has expired or was revoked."""
TIDY_EVERY_S = 3_600.0
CLOSE_AT_A_TIME = 100


class Register:
    """Finds tokens. Every method that waits may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[bytes, Token] = {}
        # When the reading of them began; and the task that reads them again, while there is one.
        self._as_of_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._tidied_s = float("-inf")
        # What closes the connections that were opened with a token, by its hash.
        self._open: dict[bytes, set[Callable[[], object]]] = {}

    async def find(self, kind: Kind, secret: bytes) -> Token | None:
        """The token of this kind with this secret, while it is good."""
        if not looks_like(kind, secret):
            return None
        now_s, hash = time.monotonic(), hash_of(secret)
        await self._read_since(now_s - FRESH_FOR_S)
        if hash not in self._tokens:
            await self._read_since(now_s)
        token = self._tokens.get(hash)
        if token is None or token.kind != kind or not is_good(token, _wall_us()):
            return None
        return token

    async def has_good(self, kind: Kind) -> bool:
        """Whether there is any such token."""
        await self._read_since(time.monotonic() - FRESH_FOR_S)
        now_us = _wall_us()
        return any(token.kind == kind and is_good(token, now_us) for token in self._tokens.values())

    async def _read_since(self, as_of_s: float) -> None:
        """Have the tokens as they were then, or later."""
        while self._as_of_s < as_of_s:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(), name="tokens")
            await asyncio.shield(self._reading)  # others wait for it as well

    async def _read(self) -> None:
        try:
            await asyncio.sleep(self._as_of_s + READ_EVERY_S - time.monotonic())
            as_of_s = time.monotonic()
            self._tokens = {token.hash: token for token in await self._store.tokens()}
            self._as_of_s = as_of_s
        finally:
            self._reading = None

    @contextmanager
    def watching(self, token: Token | None, close: Callable[[], object]) -> Iterator[None]:
        """``close`` is called once a sweep finds that the token is good no more; None: it stays good."""
        if token is None:
            yield
            return
        closers = self._open.setdefault(token.hash, set())
        closers.add(close)
        try:
            yield
        finally:
            closers.discard(close)
            if not closers and self._open.get(token.hash) is closers:
                del self._open[token.hash]

    async def sweep(self) -> None:
        """Close what was opened with tokens that are good no more; once a second is often enough."""
        now_s = time.monotonic()
        if now_s - self._tidied_s >= TIDY_EVERY_S:
            self._tidied_s = now_s
            await self._tidy()
        if not self._open:
            return
        await self._read_since(now_s - FRESH_FOR_S)
        now_us = _wall_us()
        for hash in list(self._open):
            token = self._tokens.get(hash)
            if token is None or not is_good(token, now_us):
                await self._close(list(self._open.pop(hash, ())))

    @staticmethod
    async def _close(closers: list[Callable[[], object]]) -> None:
        for at in range(0, len(closers), CLOSE_AT_A_TIME):
            for close in closers[at : at + CLOSE_AT_A_TIME]:
                close()
            await asyncio.sleep(0)

    async def _tidy(self) -> None:
        """Forget what has ended long ago: each browser that logs in leaves a token."""
        await self._read_since(time.monotonic() - FRESH_FOR_S)
        before_us = _wall_us() - KEPT_AFTER_END_US
        for token in list(self._tokens.values()):
            ends_us = ended_us(token)
            if ends_us is not None and ends_us < before_us:
                await self._store.take_token(token.hash)


async def make_link(store: Store, base_url: str, app_id: int | None = None) -> str:
    """The address of a login that is good once, for 10 minutes.

    Raises:
        StoreError: it can't be kept.
    """
    secret, token = issue("link", _wall_us(), app_id=app_id, good_for_us=LINK_FOR_US)
    await store.add_token(token)
    return f"{base_url}{LOGIN_PATH}?code={secret}"


def _wall_us() -> int:
    return time.time_ns() // 1000
