"""A viewer's end of asciinema's live protocol, strict: each message holds exactly one event."""

from __future__ import annotations

from typing import NamedTuple

KINDS = {0x01: "init", 0x6F: "output", 0x72: "resize", 0x6D: "marker", 0x78: "exit", 0x04: "end"}


class Event(NamedTuple):
    """``number`` and ``us`` are the id and the time in it; what else it holds is in the rest."""

    kind: str
    number: int | None
    us: int
    cols: int = 0
    rows: int = 0
    text: str = ""
    status: int = 0


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The integer at ``at``, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def read_event(message: bytes) -> Event:
    """The event in a message; no byte may be left, and no character cut."""
    kind, at, numbers = KINDS[message[0]], 1, list[int]()
    wanted = {"init": 4, "output": 2, "resize": 4, "marker": 2, "exit": 3, "end": 1}[kind]
    for _ in range(wanted):
        value, at = read_leb128(message, at)
        numbers.append(value)
    text = ""
    if kind == "init":
        assert message[at] == 0, "no theme"
        at += 1
    if kind in ("init", "output", "marker"):
        size, at = read_leb128(message, at)
        text, at = message[at : at + size].decode("utf-8"), at + size
    assert at == len(message)
    if kind == "end":
        return Event(kind, None, numbers[0])
    number, us, *rest = numbers
    if kind in ("init", "resize"):
        return Event(kind, number, us, rest[0], rest[1], text)
    return Event(kind, number, us, text=text, status=rest[0] if rest else 0)
