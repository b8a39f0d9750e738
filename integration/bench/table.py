"""A figure, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_COLUMNS = ("figure", "ours", "peer", "ratio", "goal", "met")


class Figure(NamedTuple):
    """One row. ``peer`` says which, and is measured unless its name ends with ``(recorded)``.

    ``goal`` is for a person; ``met`` is None where there is none, or nothing was measured.
    """

    name: str
    ours: float | None
    unit: str
    peer_name: str = ""
    peer: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if self.ours is None or not self.peer:
            return None
        return self.ours / self.peer


def skipped(name: str, reason: str) -> Figure:
    """A row that says why it is empty."""
    return Figure(name, None, "", note=f"not measured: {reason}")


def as_json(figure: Figure) -> dict[str, Any]:
    return {**figure._asdict(), "ratio": figure.ratio}


def render(figures: Sequence[Figure]) -> str:
    """The table as a person reads it; Markdown, so that it can be pasted into a README."""
    rows = [_COLUMNS, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join(lines + ([""] if notes else []) + notes)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    peer = figure.peer_name
    if figure.peer is not None:
        peer = f"{_with_unit(figure.peer, figure.unit)}, {peer}"
    return (
        figure.name,
        "-" if figure.ours is None else _with_unit(figure.ours, figure.unit),
        peer or "-",
        "-" if figure.ratio is None else _number(figure.ratio),
        figure.goal or "-",
        {True: "yes", False: "NO", None: "-"}[figure.met],
    )


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"
