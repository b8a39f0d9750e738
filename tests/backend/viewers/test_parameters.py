"""Parameters: what is read is what is described."""

from __future__ import annotations

from typing import Any

import pytest

from ptyshipper.backend.viewers.answers import Refused
from ptyshipper.backend.viewers.parameters import Parameter, choice, flag, integer, read_all, text

NUMBER = integer("n", "", -5, 2**63 - 1, default=7)
WORD = choice("n", "", ("a", "b"))
FLAG = flag("n", "")
TEXT = text("n", "", 3, least_characters=1, pattern="[0-9a-f]*")


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        (NUMBER, "-5", -5),
        (NUMBER, "007", 7),
        (NUMBER, "9223372036854775807", 2**63 - 1),
        (WORD, "b", "b"),
        (FLAG, "true", True),
        (FLAG, "false", False),
        (TEXT, "0af", "0af"),
    ],
)
def test_read(parameter: Parameter, given: str, value: Any) -> None:
    assert read_all((parameter,), {"n": given, "unknown": "x"}) == {"n": value}


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        *(
            (NUMBER, given)
            for given in ("", "-6", "9223372036854775808", "1" * 5_000, "1.0", " 1", "٣", "1\n")
        ),
        *((WORD, given) for given in ("", "A", "ab")),
        *((FLAG, given) for given in ("", "1", "True")),
        *((TEXT, given) for given in ("", "0af0", "x", "a\n")),
    ],
)
def test_nonsense_is_refused(parameter: Parameter, given: str) -> None:
    with pytest.raises(Refused) as caught:
        read_all((parameter,), {"n": given})
    assert caught.value.status == 400
    assert caught.value.message.startswith("n must ")  # and what it may be


def test_missing_one_has_its_default() -> None:
    """Unless it is required; a parameter of the path is no matter of the query."""
    path = text("id", "", 3, place="path")
    assert read_all((NUMBER, path), {}) == {"n": 7}
    with pytest.raises(Refused, match="n is missing"):
        read_all((TEXT._replace(is_required=True),), {})
