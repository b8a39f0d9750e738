"""How a reading command ends when nobody reads any more."""

from __future__ import annotations

import io

import pytest

from ptyshipper.view.output import ends_quietly, is_person, wants_colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_interrupt_ends_without_a_word() -> None:
    @ends_quietly
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert interrupted() == 130


def test_status_passes_through() -> None:
    @ends_quietly
    def command(status: int) -> int:
        return status

    assert command(3) == 3


@pytest.mark.parametrize(("no_color", "expected"), [(None, True), ("", True), ("1", False)])
def test_colours_are_for_terminals_and_can_be_refused(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, expected: bool
) -> None:
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert wants_colours(Terminal()) is expected
    assert wants_colours(io.StringIO()) is False


def test_closed_stream_is_nobody() -> None:
    closed = io.StringIO()
    closed.close()
    assert not is_person(closed)
