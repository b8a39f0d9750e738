"""Newlines of a pipe become new lines, once."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.printed.newlines import NewLines


@given(st.lists(st.text(alphabet="a\r\n", max_size=6).map(str.encode), max_size=8))
def test_every_newline_has_one_return_however_it_is_cut(pieces: list[bytes]) -> None:
    lines = NewLines()
    fed = b"".join(lines.feed(piece) for piece in pieces)
    assert fed == re.sub(rb"(?<!\r)\n", b"\r\n", b"".join(pieces))
