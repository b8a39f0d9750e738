"""In place of ``secrets``: for WebSocket's keys and masks."""

from __future__ import annotations

from os import urandom as token_bytes

__all__ = ["token_bytes"]
