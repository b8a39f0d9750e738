"""Signals, in words. Pure."""

from __future__ import annotations

import signal

from ptyshipper.records import Record, read_signalled


def signal_name(number: int) -> str:
    """As in ``kill -l``, with SIG; real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sent(record: Record) -> str:
    """A signal that was passed on to the program, in words."""
    return f"{signal_name(read_signalled(record.payload))} sent"
