"""An entry, as readers get it."""

from __future__ import annotations

from ptyshipper.backend.entries.entry import Entry, as_json, signal_name


def test_line() -> None:
    """Its time is Unix time; it is of a stream, and whole or not."""
    assert as_json(Entry(3, 99, 5, "line", "tty", "x", True), 1_000) == {
        "number": 3,
        "id": 99,
        "time_us": 1_005,
        "kind": "line",
        "text": "x",
        "stream": "tty",
        "truncated": True,
    }


def test_event_has_fields_of_its_own() -> None:
    value = as_json(Entry(3, 99, 5, "signalled", None, "SIGTERM sent", fields={"signal": 15}), 0)
    assert value["signal"] == 15
    assert "stream" not in value


def test_time_stays_a_date() -> None:
    """A hostile session's clock says anything."""
    assert as_json(Entry(0, 0, 2**63, "line", "tty", ""), 2**63)["time_us"] < 2**58


def test_signal_has_its_name_if_it_has_one() -> None:
    assert [signal_name(number) for number in (9, 34, 40, 64, 0)] == [
        "SIGKILL",
        "SIGRTMIN",
        "signal 40",
        "SIGRTMAX",
        "signal 0",
    ]
