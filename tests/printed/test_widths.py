"""The width of characters, with and without Python's table."""

from __future__ import annotations

import unicodedata

import pytest

from ptyshipper.printed.widths import width, width_by_blocks


@pytest.mark.parametrize(
    ("character", "cells"),
    [("a", 1), ("é", 1), ("█", 1), ("⠋", 1), ("✓", 1), ("日", 2), ("한", 2), ("🎉", 2), ("⚡", 2),
     ("\u0301", 0), ("\u200d", 0), ("\ufe0f", 0), ("\ue000", 1), ("→", 1), ("⏳", 2)],
)  # fmt: skip
def test_width(character: str, cells: int) -> None:
    assert width(character) == cells
    assert width_by_blocks(character) == cells


def test_blocks_agree_with_the_table_on_what_is_common() -> None:
    """All of the basic plane but scripts whose marks stand everywhere between their letters."""
    differing = [
        code
        for code in (*range(0x20, 0x600), *range(0x2000, 0xD800), *range(0xE000, 0x10000))
        if unicodedata.category(chr(code)) != "Cn"
        and width(chr(code)) != width_by_blocks(chr(code))
    ]
    assert len(differing) < 150, [hex(code) for code in differing]
