"""A session to take away, in any of its forms, record by record. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from ptyshipper.printed.cast import CastWriter
from ptyshipper.printed.lines import Line, LineAssembler
from ptyshipper.printed.losses import Lost
from ptyshipper.printed.shown import Clock, json_line, text_line
from ptyshipper.records import Record

Session = dict[str, Any]
"""A session's summary, as the API gives it."""


class Export(Protocol):
    """What of a session's form its beginning, each record and its end give. A record may give much: who
    shares a thread can pause between any two parts."""

    def header(self) -> str: ...

    def feed(self, record: Record) -> Iterable[str]: ...

    def finish(self) -> str: ...


class _Lines:
    """Lines in one form; a line is given when it is complete, or with the session's end."""

    def __init__(self, session: Session, show: Callable[[Line | Lost, Clock], str]) -> None:
        self._show = show
        self._clock = Clock(session)
        self._lines = LineAssembler()

    def header(self) -> str:
        return ""

    def feed(self, record: Record) -> Iterator[str]:
        self._clock.see(record)
        for line in self._lines.feed(record):
            yield self._show(line, self._clock)

    def finish(self) -> str:
        return "".join([self._show(line, self._clock) for line in self._lines.finish()])


class _Cast:
    """A cast's events."""

    def __init__(self, session: Session, version: int) -> None:
        self._writer = CastWriter(session, version)
        self.header = self._writer.header
        self.finish = self._writer.finish

    def feed(self, record: Record) -> tuple[str]:
        return (self._writer.feed(record),)


def _as_text(line: Line | Lost, _: Clock) -> str:
    return text_line(line, person=False, colours=False) + "\n"


def _as_json(line: Line | Lost, clock: Clock) -> str:
    return json_line(line, clock).decode()


class Format(NamedTuple):
    """A form: how it begins, how a file of it is called and what it is to a browser."""

    make: Callable[[Session], Export]
    suffix: str
    media_type: str


FORMATS = {
    "cast": Format(lambda session: _Cast(session, 3), "cast", "application/x-asciicast"),
    "cast2": Format(lambda session: _Cast(session, 2), "cast", "application/x-asciicast"),
    "text": Format(lambda session: _Lines(session, _as_text), "txt", "text/plain; charset=utf-8"),
    "jsonl": Format(lambda session: _Lines(session, _as_json), "jsonl", "application/jsonl"),
}
"""``cast`` and ``cast2`` are asciicasts, versions 3 and 2; ``text`` has the lines without colours,
``jsonl`` what ``logs --json`` prints."""
