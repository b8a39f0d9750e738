"""Conversations that no shipper would hold: whatever is said, only whole records are stored, as they are
told to readers, and nobody else is disturbed.

``INPUTS`` conversations of up to 12 messages each, made of good ones that were cut, flipped, doubled,
mixed and made up. ``PTYSHIPPER_FUZZ=100000`` asks for more of them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.backend.entries.derive import Derivation
from ptyshipper.backend.ingest import core
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.records import GapCause, Kind, decode, encode, read_gap
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.messages import ByeReason
from tests.backend.ingest.test_hub import Bench, FakeShipper
from tests.support.server import describe

INPUTS = int(os.environ.get("PTYSHIPPER_FUZZ", "1500"))

U64, TIMES = st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1) | st.integers(0, 10_000)
RECORD = st.one_of(
    st.builds(
        encode,
        st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.TTY]),
        TIMES,
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"\n", b"a\n", b"b", b"\r\n\n"]),
    ),
    st.builds(
        lambda span, lost, cause: encode(Kind.GAP, 5, records.gap(span, lost, cause)),
        st.integers(0, 100) | U64,
        st.integers(0, 100) | U64,
        st.sampled_from(GapCause),
    ),
    st.builds(
        lambda code, signal: encode(Kind.EXITED, 7, records.exited(code, signal, False)),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
    st.builds(
        lambda cols, rows: encode(Kind.RESIZED, 8, records.resized(cols, rows)),
        st.integers(0, 65_535),
        st.integers(0, 65_535),
    ),
    st.builds(
        lambda wall, cols: encode(Kind.STARTED, 0, records.started(wall, cols, 24, 7)),
        U64,
        st.integers(0, 65_535),
    ),
    st.builds(lambda n: encode(Kind.SIGNALLED, 9, records.signalled(n)), st.integers(0, 255)),
    st.binary(max_size=30),
)
"""A record, well-formed more often than not, or bytes that are none."""

Said = tuple[str, object]
MESSAGE: st.SearchStrategy[Said] = st.one_of(
    st.tuples(st.just("batch"), st.lists(RECORD, max_size=5)),
    st.tuples(st.just("elsewhere"), st.tuples(U64, st.lists(RECORD, max_size=3))),
    st.tuples(st.just("bye"), st.sampled_from(ByeReason)),
    st.tuples(st.just("hello"), st.none()),
    st.tuples(st.just("bytes"), st.binary(max_size=60)),
    st.tuples(st.just("text"), st.text(max_size=10)),
    st.tuples(st.just("time"), st.floats(0, 200)),
    st.tuples(st.just("again"), st.none()),
)
SPOIL = st.none() | st.tuples(st.integers(0, 200), st.integers(0, 7), st.integers(0, 20))
"""Which byte to flip which bit of, and how many bytes to leave out at the end."""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # In memory where there is a file system for that: the disk has nothing to do with it.
    root = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=root) as made:
        yield Path(made)


@settings(
    max_examples=INPUTS, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(st.lists(st.tuples(MESSAGE, SPOIL), max_size=12))
def test_whatever_is_said(directory: Path, conversation: list[tuple[Said, object]]) -> None:
    asyncio.run(_hold(directory, conversation))


async def _hold(directory: Path, conversation: list[tuple[Said, object]]) -> None:
    bench = Bench(directory)
    bystander = await bench.open(os.urandom(16))
    session_id, now_s = os.urandom(16), 0.0
    shipper = await bench.open(session_id)
    for (kind, what), spoilt in conversation:
        if kind == "again":
            shipper = await bench.open(session_id)
        elif kind == "time":
            now_s += float(what)  # type: ignore[arg-type]
            shipper.do(shipper.ingest.tick(now_s))
        else:
            said = _message(shipper, session_id, kind, what)
            if isinstance(said, bytes) and spoilt is not None:
                said = _spoil(said, *spoilt)  # type: ignore[misc]
            shipper.do(shipper.ingest.received(said, now_s))
        await bench.settle()
        if shipper.close_code is not None:
            assert shipper.close_code in CloseCode
            assert shipper.ingest.state is core.State.CLOSED
    bench.hub.disconnected(shipper)
    assert bystander.close_code is None
    line = encode(Kind.STDOUT, 1, b"still here\n")
    bystander.send(0, line)
    await bench.settle()
    assert core.Acknowledge(len(line)) in bystander.done
    await _check_stored(bench.store, session_id)
    bench.hub.disconnected(bystander)
    await bench.settle()
    await bench.store.close()


def _message(shipper: FakeShipper, session_id: bytes, kind: str, what: object) -> bytes | str:
    session = shipper.session
    offset = 0 if session is None else session.next_offset
    match kind, what:
        case "batch", list(parts):
            return messages.batch(offset, b"".join(parts))
        case "elsewhere", (int(elsewhere), list(parts)):
            return messages.batch(elsewhere, b"".join(parts))
        case "bye", ByeReason():
            return messages.bye(what)
        case "hello", None:
            return messages.hello(session_id, describe())
        case ("bytes", bytes()) | ("text", str()):
            return what
    raise AssertionError(kind)


def _spoil(said: bytes, at: int, bit: int, left_out: int) -> bytes:
    spoilt = bytearray(said[: max(0, len(said) - left_out)])
    if spoilt:
        spoilt[at % len(spoilt)] ^= 1 << bit
    return bytes(spoilt)


async def _check_stored(store: SqliteStore, session_id: bytes) -> None:
    """What is there is whole, adds up, and is what readers are told."""
    session = await store.load(session_id)
    assert session is not None
    offset, derivation, entries = 0, Derivation(), 0
    for chunk in await store.chunks(session.number, 0, 1 << 30):
        assert (chunk.first_offset, chunk.first_entry) == (offset, entries)
        entries += sum(entry is not None for entry in derivation.feed(chunk))
        for record in decode(chunk.records):
            is_gap = record.kind == Kind.GAP
            offset += read_gap(record.payload).span if is_gap else record.size
        assert (chunk.end_offset, chunk.end_entry) == (offset, entries)
    assert (session.next_offset, session.entries) == (offset, entries)
