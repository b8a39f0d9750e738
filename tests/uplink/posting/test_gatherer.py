"""The next post made ready from a spool: within the API's limits, and nothing of it forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ptyshipper.records import Kind
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.uplink.attempts import FOREVER_S
from ptyshipper.uplink.posting.gatherer import Gatherer
from ptyshipper.uplink.posting.lines import LineAssembler
from ptyshipper.uplink.posting.post import MAX_BODY_BYTES, MAX_LINES, Envelope
from ptyshipper.uplink.posting.progress import Progress
from tests.support.shipping import Wrapper

DESCRIPTION = {"deployment_id": 7, "type": "runtime", "hostname": "pod-1"}


@pytest.fixture
def wrapper() -> Iterator[Wrapper]:
    """Which ships nothing: it is not started."""
    wrapper = Wrapper("http://nobody.invalid/")
    yield wrapper
    wrapper.spool.close()


def gatherer(wrapper: Wrapper) -> Gatherer:
    reader = SpoolReader(wrapper.spool.ledger)
    return Gatherer(reader, LineAssembler(Progress(), colours=False), Envelope(DESCRIPTION), 0)


def texts(gatherer: Gatherer, *, to_the_end: bool = False) -> list[str]:
    taken = gatherer.take(to_the_end=to_the_end)
    return [entry.line.text for entry in taken.entries if entry.line]


def test_what_was_made_ready_ahead_is_taken_with_what_came_after(wrapper: Wrapper) -> None:
    gathering = gatherer(wrapper)
    wrapper.write(b"one\n")
    gathering.fill()
    assert gathering.read_offset == wrapper.spool.ledger.head.offset
    wrapper.write(b"two\n")
    assert texts(gathering) == ["one", "two"]
    assert texts(gathering) == []


def test_a_post_takes_as_many_lines_as_it_may_and_the_next_goes_on(wrapper: Wrapper) -> None:
    gathering = gatherer(wrapper)
    wrapper.write(b"".join(b"%d\n" % number for number in range(MAX_LINES + 1)))
    first = gathering.take(to_the_end=False)
    assert (len(first.entries), first.is_full) == (MAX_LINES, True)
    second = gathering.take(to_the_end=False)
    assert ([entry.content for entry in second.entries], second.is_full) == ([b'"500"'], False)


def test_a_post_takes_as_many_bytes_as_it_may(wrapper: Wrapper) -> None:
    gathering = gatherer(wrapper)
    for _ in range(3):
        wrapper.write(b"x" * 40_000 + b"\n")
    first = gathering.take(to_the_end=False)
    assert (len(first.entries), first.is_full) == (2, True)
    assert sum(entry.size_bytes for entry in first.entries) < MAX_BODY_BYTES
    assert len(gathering.take(to_the_end=False).entries) == 1


def test_what_was_begun_waits_for_its_time_or_the_end(wrapper: Wrapper) -> None:
    gathering = gatherer(wrapper)
    assert gathering.due_s == FOREVER_S
    wrapper.write(b"begun")
    assert texts(gathering) == []
    assert gathering.due_s < FOREVER_S
    assert texts(gathering, to_the_end=True) == ["begun"]
    assert gathering.due_s == FOREVER_S


def test_records_that_are_no_lines_are_settled(wrapper: Wrapper) -> None:
    gathering = gatherer(wrapper)
    wrapper.write_record(Kind.RESIZED, b"\0\x50\0\x18")
    taken = gathering.take(to_the_end=False)
    assert taken.entries == ()
    assert taken.settled_offset == gathering.read_offset == wrapper.spool.ledger.head.offset
