"""Text for a person's terminal: nothing in it moves, answers or hides."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.printed import text

HOSTILE = st.text(
    alphabet=st.sampled_from("\x1b[]0;:?31mHJnc\x07\\\x9b\x9d\x00\r\n\x08\x7fPé\t "), max_size=40
)


@given(HOSTILE | st.text(max_size=40))
def test_only_colours_and_tabs_are_left_of_controls(printed: str) -> None:
    shown = text.visible(printed, colours=True)
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", shown)
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", rest)
    plain = text.visible(printed, colours=False)
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", plain)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain\ttext é", "plain\ttext é"),
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[38:2::1:2:3mred\x1b[0m", "\x1b[38:2::1:2:3mred\x1b[0m\x1b[0m"),
        ("a\x1b[2Kb\x1b[?25l", "ab"),
        ("\x1b]0;title\x07x\x1b]52;c;ZXZpbA==\x1b\\y", "xy"),
        ("\x1b]0;no end", "^[]0;no end"),
        ("bell\x07 nul\x00 del\x7f", "bell^G nul^@ del^?"),
        ("\x9b31m", "<9b>31m"),
        ("a\u202eb\u2066c\u200fd", "a<202e>b<2066>c<200f>d"),
    ],
)
def test_what_is_shown(printed: str, shown: str) -> None:
    assert text.visible(printed, colours=True) == shown


def test_without_colours_none_is_left() -> None:
    assert text.visible("\x1b[1;31mred\x1b[0m", colours=False) == "red"


def test_invalid_utf8_is_replaced() -> None:
    assert text.decoded(b"a\xffb") == "a\ufffdb"


@given(HOSTILE | st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_json_is_the_same_value_and_safe_to_look_at(printed: str) -> None:
    shown = text.json_text({"text": printed})
    assert json.loads(shown) == {"text": printed}
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


def test_json_leaves_readable_text_readable() -> None:
    assert text.json_text("é日") == '"é日"'
    assert text.json_text("\x9b\x7f\u202e") == r'"\u009b\u007f\u202e"'
