"""In place of ``socket``: its numbers are numbers here, not the members of five enums. Addresses are
looked up and sockets made by the same module in C."""

from __future__ import annotations

import _socket
from _socket import *  # noqa: F403


class socket(_socket.socket):  # type: ignore[no-redef] # in place of the one above
    """One that can be held weakly, which ``_ssl`` does."""
