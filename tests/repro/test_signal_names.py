"""Signals by whatever name."""

from __future__ import annotations

import signal

import pytest

from ptyshipper.repro.signal_names import signal_name, signal_number


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SIGTERM", "SIGTERM"),
        ("term", "SIGTERM"),
        ("15", "SIGTERM"),
        ("SIGRTMIN+3", "SIGRTMIN+3"),
        ("rtmin+3", "SIGRTMIN+3"),
        ("37", "SIGRTMIN+3"),
    ],
)
def test_names(text: str, name: str) -> None:
    assert signal_name(text) == name


def test_every_signal_comes_back() -> None:
    for number in (*range(1, 32), *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)):
        assert signal_number(signal_name(str(number))) == number


@pytest.mark.parametrize(
    "text", ["", "SIG", "0", "65", "33", "SIGNONE", "RTMIN+31", "TERM+1", "RTMIN+x", "²"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no signal"):
        signal_name(text)
