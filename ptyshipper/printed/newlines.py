"""The newlines of a pipe, as a terminal would have made new lines of them. Pure."""

from __future__ import annotations

import re

_BARE = re.compile(rb"(?<!\r)\n")


class NewLines:
    """Puts a return before every newline of one stream that has none, however the stream is cut."""

    def __init__(self) -> None:
        self._returned = False

    def feed(self, data: bytes) -> bytes:
        """``data``, which may go on behind a return that came with what was fed before."""
        whole = 1 if self._returned and data.startswith(b"\n") else 0
        if data:
            self._returned = data.endswith(b"\r")
        return data[:whole] + _BARE.sub(b"\r\n", data[whole:])
