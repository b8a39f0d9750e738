"""What a search finds in a line."""

from __future__ import annotations

import pytest

from ptyshipper.backend.entries.needle import Needle


@pytest.mark.parametrize(
    ("wanted", "text", "is_case_sensitive", "is_found"),
    [
        ("Error", "an Error", True, True),
        ("error", "an Error", True, False),
        ("ERROR", "an Error", False, True),
        ("STRASSE", "straße", False, True),
        ("error: x", "\x1b[31merror\x1b[0m: x", True, True),
        ("31", "\x1b[31merror", True, False),
        ("link", "\x1b]8;;http://h/\x07link\x1b]8;;\x07", True, True),
        ("http", "\x1b]8;;http://h/\x07link", True, False),
        ("a.b", "axb", False, False),
    ],
)
def test_what_is_seen_is_what_is_found(
    wanted: str, text: str, is_case_sensitive: bool, is_found: bool
) -> None:
    assert Needle(wanted, is_case_sensitive=is_case_sensitive).is_in(text) is is_found


def test_hostile_text_takes_no_long_time() -> None:
    """A megabyte of sequences that never end."""
    needle = Needle("x", is_case_sensitive=False)
    for piece in ("\x1b[", "\x1b]", "\x1b[0;", "\x1b]a\n", "\x1b[ "):
        assert not needle.is_in(piece * (1_000_000 // len(piece)))
