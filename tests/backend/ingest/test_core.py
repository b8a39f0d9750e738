"""The state machine of a shipper's connection, by scripts: events in, commands out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ptyshipper import records
from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.ingest.core import (
    HELLO_WITHIN_S,
    MAX_WINDOW_BYTES,
    MIN_WINDOW_BYTES,
    SILENCE_S,
    Acknowledge,
    Append,
    Close,
    Command,
    Ingest,
    MarkCut,
    Open,
    Send,
    State,
    window_bytes,
)
from ptyshipper.backend.session import read_description
from ptyshipper.records import GapCause, Kind, encode
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import ByeReason
from tests.support.server import describe, exit_record, output, start_record

ID = bytes(range(16))
HELLO = messages.hello(ID, describe())
LINE = output(b"hi\n")
WINDOW = 1_000


def opened(offset: int = 0, *, exited: bool = False) -> Ingest:
    """A connection that was welcomed at time 0."""
    ingest = Ingest(0.0)
    assert ingest.received(HELLO, 0.0) == [Open(ID, read_description(describe()))]
    assert ingest.opened(offset, exited, NO_LINES, WINDOW, 0.0) == [
        Send(messages.welcome(offset, WINDOW))
    ]
    return ingest


def appended(commands: list[Command]) -> Append:
    (command,) = commands
    assert isinstance(command, Append)
    return command


def close_code(commands: list[Command]) -> CloseCode:
    command = commands[-1]
    assert isinstance(command, Close)
    assert "\n" not in command.reason
    return command.code


def test_whole_conversation() -> None:
    """Hello, records, acknowledgement after the commit, goodbye."""
    ingest = opened()
    batch = start_record() + LINE
    command = appended(ingest.received(messages.batch(0, batch), 1.0))
    assert (command.offset, command.records, command.digest.end_offset) == (0, batch, len(batch))
    assert ingest.committed(len(batch), len(batch)) == [Acknowledge(len(batch))]
    exit_ = exit_record()
    appended(ingest.received(messages.batch(len(batch), exit_), 2.0))
    end = len(batch) + len(exit_)
    assert ingest.committed(end, len(exit_)) == [Acknowledge(end)]
    assert ingest.received(messages.bye(ByeReason.ENDED), 3.0) == [Close(CloseCode.DONE, "")]
    assert ingest.state is State.CLOSED


@pytest.mark.parametrize("message", [HELLO, messages.batch(0, LINE), messages.bye(ByeReason.ENDED)])
def test_nothing_is_said_before_the_welcome(message: bytes) -> None:
    ingest = Ingest(0.0)
    ingest.received(HELLO, 0.0)
    assert ingest.tick(HELLO_WITHIN_S) == [], "it waits for the store, not for the shipper"
    assert close_code(ingest.received(message, 1.0)) is CloseCode.MALFORMED
    assert ingest.opened(0, False, NO_LINES, WINDOW, 1.0) == []


def test_batches_are_sent_ahead_and_acknowledged_together() -> None:
    ingest = opened()
    for index in range(3):
        appended(ingest.received(messages.batch(index * len(LINE), LINE), 0.0))
    assert ingest.committed(3 * len(LINE), 3 * len(LINE)) == [Acknowledge(3 * len(LINE))]


def test_gap_moves_on_what_comes_next() -> None:
    """The next batch begins behind the records that the gap stands for."""
    ingest = opened(50)
    gap = encode(Kind.GAP, 1, records.gap(4_096, 4_000, GapCause.OVERFLOW))
    appended(ingest.received(messages.batch(50, gap), 0.0))
    appended(ingest.received(messages.batch(4_146, LINE), 0.0))


def test_heartbeat_is_answered() -> None:
    """At once with nothing pending; otherwise by the commit's own acknowledgement."""
    ingest = opened(7)
    assert ingest.received(messages.batch(7, b""), 1.0) == [Acknowledge(7)]
    ingest.received(messages.batch(7, LINE), 1.0)
    end = 7 + len(LINE)
    assert ingest.received(messages.batch(end, b""), 1.0) == []
    assert ingest.committed(end, len(LINE)) == [Acknowledge(end)]


def test_goodbye_waits_for_what_is_uncommitted() -> None:
    """A shipper that leaves early still gets its data stored, then the close."""
    ingest = opened()
    ingest.received(messages.batch(0, LINE), 0.0)
    assert ingest.received(messages.bye(ByeReason.LEAVING), 0.0) == []
    assert ingest.committed(len(LINE), len(LINE)) == [
        Acknowledge(len(LINE)),
        Close(CloseCode.DONE, ""),
    ]


def test_cut_is_stored_before_the_close() -> None:
    """The successor may forget the session once its goodbye is answered."""
    ingest = opened()
    assert ingest.received(messages.bye(ByeReason.CUT), 0.0) == [MarkCut()]
    assert ingest.committed(0, 0) == [Close(CloseCode.DONE, "")]


def test_session_that_exited_cannot_be_cut() -> None:
    assert opened(0, exited=True).received(messages.bye(ByeReason.CUT), 0.0) == [
        Close(CloseCode.DONE, "")
    ]


def test_window_is_enforced_to_the_byte() -> None:
    """What fills it is taken, a byte more is too much; a commit makes room again."""
    filling = output(b"x" * (WINDOW - 16))
    ingest = opened()
    appended(ingest.received(messages.batch(0, filling), 0.0))
    ingest.committed(WINDOW, WINDOW)
    appended(ingest.received(messages.batch(WINDOW, filling), 0.0))
    assert (
        close_code(ingest.received(messages.batch(2 * WINDOW, output(b"x")), 0.0))
        is CloseCode.TOO_MANY
    )


def after_hello(message: bytes | str) -> Callable[[], list[Command]]:
    return lambda: opened(100).received(message, 0.0)


def at_once(message: bytes | str) -> Callable[[], list[Command]]:
    return lambda: Ingest(0.0).received(message, 0.0)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        pytest.param(at_once(messages.batch(0, LINE)), CloseCode.MALFORMED, id="batch first"),
        pytest.param(at_once(messages.bye(ByeReason.ENDED)), CloseCode.MALFORMED, id="bye first"),
        pytest.param(at_once("hello"), CloseCode.MALFORMED, id="text"),
        pytest.param(at_once(b""), CloseCode.MALFORMED, id="empty"),
        pytest.param(at_once(b"\x7f"), CloseCode.MALFORMED, id="unknown type"),
        pytest.param(at_once(messages.hello(ID, {})), CloseCode.MALFORMED, id="no description"),
        pytest.param(after_hello(HELLO), CloseCode.MALFORMED, id="second hello"),
        pytest.param(after_hello(messages.batch(99, LINE)), CloseCode.OFFSET, id="repeated bytes"),
        pytest.param(after_hello(messages.batch(101, LINE)), CloseCode.OFFSET, id="skipped bytes"),
        pytest.param(
            after_hello(messages.batch(2**62, b"")), CloseCode.OFFSET, id="heartbeat elsewhere"
        ),
        pytest.param(after_hello(messages.batch(100, LINE[:-1])), CloseCode.RECORD, id="torn"),
        pytest.param(
            after_hello(messages.batch(100, LINE + b"\0")), CloseCode.RECORD, id="trailing byte"
        ),
        pytest.param(
            after_hello(messages.batch(100, LINE[:-1] + b"\0")), CloseCode.RECORD, id="damaged"
        ),
        pytest.param(
            after_hello(messages.batch(100, exit_record() + LINE)),
            CloseCode.ENDED,
            id="record behind the exit",
        ),
        pytest.param(
            after_hello(b"\x02" + bytes(8 + messages.MAX_BATCH_BYTES + 1)),
            CloseCode.MESSAGE_TOO_BIG,
            id="too many bytes",
        ),
    ],
)
def test_violation_is_closed_with_its_code(
    act: Callable[[], list[Command]], code: CloseCode
) -> None:
    commands = act()
    assert len(commands) == 1
    assert close_code(commands) is code


def test_nothing_follows_an_exit() -> None:
    """Neither on the same connection nor on a new one; a heartbeat may."""
    same = opened()
    end = len(exit_record())
    same.received(messages.batch(0, exit_record()), 0.0)
    assert close_code(same.received(messages.batch(end, LINE), 0.0)) is CloseCode.ENDED
    other = opened(end, exited=True)
    assert other.received(messages.batch(end, b""), 0.0) == [Acknowledge(end)]
    assert close_code(other.received(messages.batch(end, LINE), 0.0)) is CloseCode.ENDED


def test_nothing_may_be_said_after_goodbye() -> None:
    ingest = opened()
    ingest.received(messages.batch(0, LINE), 0.0)
    ingest.received(messages.bye(ByeReason.LEAVING), 0.0)
    assert close_code(ingest.received(messages.batch(len(LINE), LINE), 0.0)) is CloseCode.MALFORMED


def test_refused_batch_leaves_earlier_ones_to_be_stored() -> None:
    """But a closed connection says nothing more, whatever becomes of them."""
    ingest = opened()
    appended(ingest.received(messages.batch(0, LINE), 0.0))
    ingest.received(messages.batch(0, LINE), 0.0)
    assert ingest.state is State.CLOSED
    assert ingest.committed(len(LINE), len(LINE)) == []
    assert ingest.received(messages.batch(0, LINE), 0.0) == []
    assert ingest.tick(1e9) == []
    assert ingest.closed(CloseCode.REPLACED, "") == []


def test_silence_before_hello() -> None:
    ingest = Ingest(100.0)
    assert ingest.tick(100.0 + HELLO_WITHIN_S - 0.01) == []
    assert close_code(ingest.tick(100.0 + HELLO_WITHIN_S)) is CloseCode.TOO_SLOW


def test_silence_after_hello_is_counted_from_the_last_batch() -> None:
    """A heartbeat is a batch."""
    ingest = opened()
    ingest.received(messages.batch(0, b""), 60.0)
    assert ingest.tick(60.0 + SILENCE_S - 0.01) == []
    assert close_code(ingest.tick(60.0 + SILENCE_S)) is CloseCode.TOO_SLOW


@pytest.mark.parametrize(
    ("connections", "expected"),
    [(0, MAX_WINDOW_BYTES), (64, MAX_WINDOW_BYTES), (128, 512 << 10), (10_000, MIN_WINDOW_BYTES)],
)
def test_window_shrinks_with_the_number_of_shippers(connections: int, expected: int) -> None:
    assert window_bytes(connections) == expected
