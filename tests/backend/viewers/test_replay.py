"""Records are what a terminal does."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.viewers.replay import (
    EVENT_BYTES,
    Action,
    Exit,
    Marker,
    Output,
    Player,
    Resize,
)
from ptyshipper.records import GapCause, Kind, encode
from tests.support.server import exit_record, output, start_record


def actions_of(*parts: bytes) -> list[Action]:
    player = Player()
    return [action for part in parts for action in player.feed(part)]


def test_records_are_what_a_terminal_does() -> None:
    """Output in one piece, whatever its records were; sizes that are none are left out."""
    assert actions_of(
        start_record(100, 30)
        + output(b"a\xe2\x82", Kind.TTY)
        + output(b"\xacb", Kind.TTY)
        + encode(Kind.RESIZED, 1, records.resized(0, 0))
        + encode(Kind.RESIZED, 1, records.resized(9, 8))
        + encode(Kind.SIGNALLED, 2, records.signalled(15))
        + encode(Kind.GAP, 3, records.gap(33, 30, GapCause.OVERFLOW))
        + exit_record(0, 9)
    ) == [
        Resize(100, 30),
        Output("a€b"),
        Resize(9, 8),
        Marker("SIGTERM sent"),
        Marker("30 bytes lost: the spool was full"),
        Exit(137),
    ]


def test_pipes_get_the_returns_that_a_terminal_would_have_made() -> None:
    assert actions_of(output(b"a\r\nb\n") + output(b"c\n", Kind.STDERR)) == [
        Output("a\r\nb\r\nc\r\n")
    ]


@given(st.binary(min_size=1, max_size=40), st.data())
def test_character_is_never_cut(said: bytes, data: st.DataObject) -> None:
    """Wherever the records are: each event is text by itself, and all of them are what was said."""
    said += b"."  # what is half a character by then waits for its end no longer
    cuts = sorted({0, len(said), *data.draw(st.sets(st.integers(0, len(said))))})
    parts = [output(said[a:b], Kind.TTY) for a, b in itertools.pairwise(cuts)]
    texts = [action.text for action in actions_of(*parts) if isinstance(action, Output)]
    assert "".join(texts) == said.decode("utf-8", "replace")


def test_event_has_a_size() -> None:
    """Both many bytes and many records make more than one."""
    for parts in ([output(b"x" * 60_000, Kind.TTY)] * 3, [output(b"x", Kind.TTY)] * 3_000):
        actions = actions_of(b"".join(parts))
        assert len(actions) == 3
        assert all(isinstance(a, Output) and len(a.text) <= EVENT_BYTES for a in actions)
