"""The tokens of a store, in memory, with a count of how often it was asked."""

from __future__ import annotations

import time

from ptyshipper.backend.credentials import Kind, issue
from ptyshipper.backend.store.base import Token
from ptyshipper.errors import StoreError


class TokenStore:
    """What ``Register`` and ``login`` ask a ``Store``; ``fails``: it can't answer."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Token] = {}
        self.reads = 0
        self.fails = False

    def make(self, kind: Kind, **more: object) -> tuple[str, Token]:
        """A good token and its secret; fields as they are in ``Token``."""
        secret, token = issue(kind, time.time_ns() // 1000)
        token = token._replace(number=len(self.kept) + 1, **more)
        self.kept[token.hash] = token
        return secret, token

    def revoke(self, token: Token) -> None:
        self.kept[token.hash] = token._replace(revoked_us=time.time_ns() // 1000)

    async def tokens(self) -> list[Token]:
        self.reads += 1
        if self.fails:
            raise StoreError("the store is away")
        return list(self.kept.values())

    async def take_token(self, hash: bytes) -> Token | None:
        return self.kept.pop(hash, None)
