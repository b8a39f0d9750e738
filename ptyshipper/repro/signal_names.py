"""Signals by their names, as images and manifests write them: ``SIGQUIT``, ``QUIT``, ``3``, ``RTMIN+3``."""

from __future__ import annotations

import signal


def signal_name(text: str) -> str:
    """The full name.

    Raises:
        ValueError: there is no such signal here.
    """
    if text.isascii() and text.isdigit() and len(text) < 3:
        return (
            signal.Signals(int(text)).name if int(text) in _NAMED else f"SIG{_realtime(int(text))}"
        )
    name = text.upper().removeprefix("SIG")
    signal_number(f"SIG{name}")
    return f"SIG{name}"


_NAMED = {one.value for one in signal.Signals}


def _realtime(number: int) -> str:
    if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
        raise ValueError("is no signal")
    return f"RTMIN+{number - signal.SIGRTMIN}"


def signal_number(name: str) -> int:
    """Raises ValueError where there is none of this name."""
    base, plus, more = name.partition("+")
    try:
        number = int(signal.Signals[base])
    except KeyError:
        raise ValueError(f"is no signal: {name[:40]!a}") from None
    if plus:
        if base != "SIGRTMIN" or not more.isascii() or not more.isdigit() or len(more) > 2:
            raise ValueError(f"is no signal: {name[:40]!a}")
        number += int(more)
        if number > signal.SIGRTMAX:
            raise ValueError(f"is no signal: {name[:40]!a}")
    return number
