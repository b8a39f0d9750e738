"""asciinema's live protocol, ``v1.alis``: the messages that a server sends to its viewers. Pure.

Every message is binary and holds one event: a byte that says which, the event's number, the time since the
event before in microseconds, and what is its own. Integers are unsigned LEB128; a text is its length in
bytes and UTF-8. ``MAGIC`` goes first, an Init follows at once; another Init starts the screen anew.

Sources: asciinema's ``src/alis.rs`` and ``src/leb128.rs``; asciinema-server's ``stream_consumer_socket.ex``
for EOT, which has no number there.
"""

from __future__ import annotations

SUBPROTOCOL = "v1.alis"
MAGIC = b"ALiS\x01"
MAX_COLS, MAX_ROWS = 500, 200
"""A player takes 7 s to paint a screen of 1,000 x 1,000 (measured)."""

_INIT, _OUTPUT, _RESIZE, _MARKER, _EXIT, _EOT = b"\x01", b"o", b"r", b"m", b"x", b"\x04"
_NO_THEME = b"\x00"


def leb128(value: int) -> bytes:
    """``value``, not negative: seven bits a byte, the lowest first; all but the last have the eighth."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def clamped(cols: int, rows: int) -> tuple[int, int]:
    """A size that a player can bear."""
    return min(cols, MAX_COLS), min(rows, MAX_ROWS)


class Writer:
    """Numbers the events of one connection, behind ``last_id``, and tells their times. ``at_us`` is any
    steady clock."""

    def __init__(self, last_id: int = 0) -> None:
        self._id = last_id
        self._last_us = 0

    def init(self, at_us: int, elapsed_us: int, cols: int, rows: int, screen: str) -> bytes:
        """A screen of that size, on which ``screen`` is written; the session began ``elapsed_us`` ago."""
        self._last_us = at_us
        cols, rows = clamped(cols, rows)
        numbers = b"".join(map(leb128, (self._id, elapsed_us, cols, rows)))
        return b"".join((_INIT, numbers, _NO_THEME, _text(screen)))

    def output(self, at_us: int, text: str) -> bytes:
        return self._event(_OUTPUT, at_us, _text(text))

    def resize(self, at_us: int, cols: int, rows: int) -> bytes:
        cols, rows = clamped(cols, rows)
        return self._event(_RESIZE, at_us, leb128(cols) + leb128(rows))

    def marker(self, at_us: int, label: str) -> bytes:
        return self._event(_MARKER, at_us, _text(label))

    def exit(self, at_us: int, status: int) -> bytes:
        return self._event(_EXIT, at_us, leb128(status))

    def end(self, at_us: int) -> bytes:
        """Nothing follows; without it a player connects again, for ever."""
        return _EOT + leb128(self._since(at_us))

    def _event(self, kind: bytes, at_us: int, body: bytes) -> bytes:
        self._id += 1
        return b"".join((kind, leb128(self._id), leb128(self._since(at_us)), body))

    def _since(self, at_us: int) -> int:
        before_us, self._last_us = self._last_us, max(self._last_us, at_us)
        return self._last_us - before_us


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    return leb128(len(encoded)) + encoded
