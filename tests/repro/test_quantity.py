"""Quantities, as Kubernetes writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ptyshipper.repro.documents import ManifestError, read
from ptyshipper.repro.quantity import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1G", 10**9),
        ("1k", 1000),
        ("250m", Fraction(1, 4)),
        ("1u", Fraction(1, 10**6)),
        (".5", Fraction(1, 2)),
        ("2.", 2),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("2Ei", 2**61),
        ("12e-1", Fraction(6, 5)),
        ("0.1", Fraction(1, 10)),
        ("+3", 3),
    ],
)
def test_values(text: str, number: Fraction) -> None:
    (document,) = read(f"v: '{text}'", "f")
    assert quantity(document.need("v")) == number


def test_a_number_is_one_too() -> None:
    (document,) = read("[2, 0.5]", "f")
    assert [quantity(item) for item in document.items()] == [2, Fraction(1, 2)]


@pytest.mark.parametrize(
    "text", ["-1", "''", "1 Gi", "1GB", "1ki", "e3", "1e999", "true", "[]", "9" * 40]
)
def test_what_is_none_is_refused(text: str) -> None:
    (document,) = read(f"v: {text}", "f")
    with pytest.raises(ManifestError, match=r"^f:1: v: "):
        quantity(document.need("v"))
