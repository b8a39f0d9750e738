"""``${VAR}`` as compose has it."""

from __future__ import annotations

import pytest

from ptyshipper.repro.interpolation import interpolate

VARIABLES = {"A": "a", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A-${A}", "a-a"),
        ("$$A $${A}", "$A ${A}"),
        ("${A:-x}${EMPTY:-x}${NONE:-x}", "axx"),
        ("${A-x}${EMPTY-x}${NONE-x}", "ax"),
        ("${A:+x}${EMPTY:+x}${NONE:+x}", "x"),
        ("${A+x}${EMPTY+x}${NONE+x}", "xx"),
        ("${A:?x}", "a"),
        ("${NONE:-${A}-${OTHER:-}}", "a-"),
        ("${NONE:-$$}", "$"),
        ("a}b", "a}b"),
    ],
)
def test_values(text: str, value: str) -> None:
    unset: set[str] = set()
    assert interpolate(text, VARIABLES, unset) == value
    assert unset == set()


def test_what_is_not_set_is_told() -> None:
    """But not where the default that names it is not used."""
    unset: set[str] = set()
    assert interpolate("$X${A:-$Y}", VARIABLES, unset) == "a"
    assert unset == {"X"}


@pytest.mark.parametrize(
    "text", ["$", "$1", "${", "${A", "${A:-x", "${A!}", "${EMPTY:?}", "${NONE?no}"]
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|needs) "):
        interpolate(text, VARIABLES, set())


def test_depth_is_bounded() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        interpolate("${X:-" * 1000 + "}" * 1000, {}, set())
