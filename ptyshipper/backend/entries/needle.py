"""The text that a search looks for. Pure.

Plain text only: a pattern of ``re`` can take for ever on a line that was made for it.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)")


class Needle:
    """Finds ``text`` in a line as it is seen: its colours and other escapes are no part of it.

    Args:
        is_case_sensitive: else upper and lower case are the same, as Unicode's case folding has it.
    """

    def __init__(self, text: str, *, is_case_sensitive: bool) -> None:
        self._is_case_sensitive = is_case_sensitive
        self._text = text if is_case_sensitive else text.casefold()

    def is_in(self, text: str) -> bool:
        """Whether one of the lines of ``text`` holds it."""
        if "\x1b" in text:
            text = _ESCAPES.sub("", text)
        return self._text in (text if self._is_case_sensitive else text.casefold())
