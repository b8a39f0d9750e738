"""In place of ``hashlib``: WebSocket's one digest, without OpenSSL's and without all the others."""

from __future__ import annotations

from _sha1 import sha1  # type: ignore[import-not-found] # mypy does not know of it

__all__ = ["sha1"]
