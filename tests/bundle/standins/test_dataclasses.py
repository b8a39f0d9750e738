"""The bundle's ``dataclasses``: what websockets and h11 use of it does as the library's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ptyshipper.bundle.standins import dataclasses as standin

BOTH = pytest.mark.parametrize("module", [dataclasses, standin], ids=["library", "bundle"])


def frame_class(module: Any) -> Any:
    @module.dataclass
    class Frame:
        opcode: int
        data: bytes
        fin: bool = True

    return Frame


@BOTH
def test_fields_are_arguments_in_their_order(module: Any) -> None:
    frame = frame_class(module)(1, b"data")
    assert (frame.opcode, frame.data, frame.fin) == (1, b"data", True)
    assert not frame_class(module)(1, fin=False, data=b"").fin
    assert module.asdict(frame) == {"opcode": 1, "data": b"data", "fin": True}


@BOTH
@pytest.mark.parametrize(
    ("values", "named"),
    [((1,), {}), ((1, b"", True, 4), {}), ((1, b""), {"opcode": 2}), ((1, b""), {"mask": 2})],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_wrong_arguments(module: Any, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        frame_class(module)(*values, **named)


@BOTH
def test_equal_is_what_has_equal_fields_and_the_same_class(module: Any) -> None:
    frame, other = frame_class(module), frame_class(module)
    assert frame(1, b"") == frame(1, b"", True)
    assert frame(1, b"") != frame(2, b"")
    assert frame(1, b"") != other(1, b"")
    with pytest.raises(TypeError, match="unhashable"):
        hash(frame(1, b""))


@BOTH
def test_a_class_that_fills_its_slots_itself(module: Any) -> None:
    """As h11's events do."""

    @module.dataclass(init=False, frozen=True)
    class Event:
        __slots__ = ("status",)
        status: int

        def __init__(self, status: str) -> None:
            object.__setattr__(self, "status", int(status))

    @module.dataclass(init=False, frozen=True)
    class Response(Event):
        pass

    @module.dataclass(frozen=True)
    class Closed:
        pass

    assert Response("204").status == 204
    assert Response("204") == Response("204")
    assert Closed() == Closed()
