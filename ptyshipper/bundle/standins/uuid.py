"""In place of ``uuid``: websockets gives each connection one, for its log."""

from __future__ import annotations

import os


def uuid4() -> str:
    """Random, as text, and not in the form of RFC 9562: nobody takes it apart."""
    return os.urandom(16).hex()
