"""Tokens and cookies: how they look, what is kept of them, how long they are good. No I/O, no clock.

A secret is random enough (256 bits) for a plain SHA-256 to hide it. Its prefix tells a person, and a
scanner of repositories, what was found.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

from ptyshipper.backend.store.base import Token

Kind = Literal["ingest", "view", "link", "browser"]

PREFIXES: dict[Kind, str] = {
    "ingest": "psi_",
    "view": "psv_",
    "link": "psl_",
    "browser": "psb_",
}
LINK_FOR_US = 600_000_000
BROWSER_FOR_US = 30 * 86_400_000_000
_RANDOM_BYTES = 32


def issue(
    kind: Kind,
    now_us: int,
    *,
    name: str = "",
    deployment_id: int | None = None,
    app_id: int | None = None,
    good_for_us: int | None = None,
) -> tuple[str, Token]:
    """A new secret, and what the store keeps of it; None: it is good for ever."""
    secret = PREFIXES[kind] + secrets.token_urlsafe(_RANDOM_BYTES)
    expires_us = None if good_for_us is None else now_us + good_for_us
    hash = hash_of(secret.encode())
    return secret, Token(0, kind, name, hash, deployment_id, app_id, now_us, expires_us, None)


def hash_of(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def looks_like(kind: Kind, secret: bytes) -> bool:
    """Whether it is worth asking the store for it."""
    return secret.startswith(PREFIXES[kind].encode()) and len(secret) < 100


def ended_us(token: Token) -> int | None:
    """When it stops or stopped being good; None: never."""
    ends = [end for end in (token.expires_us, token.revoked_us) if end is not None]
    return min(ends, default=None)


def is_good(token: Token, now_us: int) -> bool:
    ends_us = ended_us(token)
    return ends_us is None or now_us < ends_us
