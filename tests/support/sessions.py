"""Sessions in a store, and what is written to them, as hub and committer make it."""

from __future__ import annotations

from typing import Any

from ptyshipper.backend.digest import digest
from ptyshipper.backend.session import Chunk, Session, read_description
from ptyshipper.backend.store.base import Opening, Store, Write
from tests.support.server import describe

ALL = 1 << 40


def opening(
    number: int = 1,
    *,
    app_id: int | None = None,
    is_posted: bool = False,
    now_us: int = 1_000,
    **description: Any,
) -> Opening:
    """A connection that asks for the session whose id is this number."""
    about = read_description(describe(**description))
    return Opening(number.to_bytes(16, "big"), about, app_id, is_posted, now_us)


async def opened(store: Store, number: int = 1, **fields: Any) -> Session:
    """The session whose id is this number, opened once more."""
    (session,) = (await store.commit([], [opening(number, **fields)])).sessions
    assert session is not None
    return session


def write(session: Session, records: bytes) -> Write:
    """A batch, by which the session moves on."""
    batch = digest(records, session.next_offset, session.open_lines, max_records=len(records))
    first_offset, first_entry, open_lines = session.next_offset, session.entries, session.open_lines
    session.append(batch)
    return Write(
        session,
        Chunk(
            first_offset,
            session.next_offset,
            batch.first_time_us,
            batch.last_time_us,
            first_entry,
            session.entries,
            open_lines,
            records,
        ),
    )


async def put(store: Store, session: Session, records: bytes) -> Chunk:
    """Store a batch of its own; the chunk that became of it."""
    done = await store.commit([write(session, records)])
    (chunk,) = done.chunks
    assert chunk is not None
    return chunk


async def stored(store: Store, session: Session, from_offset: int = 0) -> bytes:
    """All records from the chunk on that ends behind an offset."""
    chunks = await store.chunks(session.number, from_offset, ALL)
    return b"".join(chunk.records for chunk in chunks)
