"""Signals in words."""

from __future__ import annotations

import signal

import pytest

from ptyshipper.printed.signals import sent, signal_name
from ptyshipper.records import Kind, decode, encode, signalled


@pytest.mark.parametrize("number", sorted(signal.Signals))
def test_signals_have_the_names_of_kill(number: signal.Signals) -> None:
    assert signal_name(int(number)) == number.name


@pytest.mark.parametrize("number", [0, 36, 65, 255])
def test_others_are_numbers(number: int) -> None:
    assert signal_name(number) == f"signal {number}"


def test_what_was_passed_on_is_told() -> None:
    (record,) = decode(encode(Kind.SIGNALLED, 0, signalled(15)))
    assert sent(record) == "SIGTERM sent"
