"""Kubernetes' quantities: ``512Mi``, ``0.5``, ``250m``, ``1e3``.

Source: k8s.io/apimachinery pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ptyshipper.repro.documents import Field

_FORM = re.compile(
    r"([+-]?)(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2}|[KMGTPE]i|[numkMGTPE]?)"
)
_FACTORS = {
    "": Fraction(1),
    **{unit: Fraction(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate("mun", start=1)},
}


def quantity(field: Field) -> Fraction:
    """Raises ManifestError where it is none, or less than nothing."""
    if field.is_map() or field.is_list() or isinstance(field.value, bool):
        raise field.error("must be a quantity, such as 512Mi or 250m")
    match = _FORM.fullmatch(str(field.value))
    if match is None:
        raise field.error(f"is no quantity: {field.shown()}; write one such as 512Mi or 250m")
    sign, number, unit = match.groups()
    if sign == "-":
        raise field.error("must not be negative")
    # E and Ei are units, too.
    factor = _FACTORS[unit] if unit in _FACTORS else Fraction(10) ** int(unit[1:])
    return Fraction(number if number[0] != "." else f"0{number}") * factor
