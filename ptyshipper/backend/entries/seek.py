"""Where to begin to read: a chunk by an entry's number, by time, or by an entry's id.

By bisection over the offsets of the session, since a chunk at an offset is what a store finds at once:
some 15 looks in a session of 10 GB, at most 63 in any, and no index beside the one that there is.
"""

from __future__ import annotations

from collections.abc import Callable

from ptyshipper.backend.digest import NO_LINE
from ptyshipper.backend.entries.derive import (
    EVERYTHING,
    MAX_LINE_BYTES,
    Derivation,
    Wanted,
    head_of,
    number_after,
    number_at,
)
from ptyshipper.backend.session import Chunk, Session, records_from
from ptyshipper.backend.store.base import Store

READ_BACK_BYTES = 1 << 20
"""How far before a chunk the lines that are open there are read whole. Of one that began further back,
the beginning is known and what is within this."""


async def last_chunk(
    store: Store, session: Session, is_before: Callable[[Chunk], bool]
) -> Chunk | None:
    """The last chunk that ``is_before``, the first one where none is; None where there is none.

    Without its records. ``is_before`` holds for the chunks up to some point in the session.
    """
    found: Chunk | None = None
    low, high = session.first_offset, session.next_offset
    while low < high:
        middle = (low + high) // 2
        chunk = await store.chunk_at(session.number, middle)
        if chunk is None:
            return None
        if is_before(chunk):
            found, low = chunk, max(chunk.end_offset, middle + 1)
        else:
            high = min(chunk.first_offset, middle)
    return found or await store.chunk_at(session.number, 0)


async def first_number(store: Store, session: Session) -> int:
    """The number of the first entry that is kept."""
    chunk = await store.chunk_at(session.number, 0)
    return session.entries if chunk is None else chunk.first_entry


async def number_by_time(store: Store, session: Session, time_us: int) -> int:
    """The number of the first entry that was completed at that time of the session's, or later."""
    found = await _whole(
        store, session, await last_chunk(store, session, lambda c: c.first_time_us < time_us)
    )
    return session.entries if found is None else number_at(found, time_us)


async def number_by_id(store: Store, session: Session, id: int) -> int:
    """The number of the first entry with a greater id."""
    found = await _whole(
        store, session, await last_chunk(store, session, lambda c: c.arrival <= id)
    )
    return session.entries if found is None else number_after(found, id)


async def begin_at(
    store: Store, session: Session, number: int, wanted: Wanted = EVERYTHING
) -> tuple[Derivation, int]:
    """A derivation that gives the entries from ``number`` on, when it is fed the session's chunks from the
    offset on that comes with it."""
    derivation = Derivation(wanted._replace(from_number=number))
    chunk = await last_chunk(store, session, lambda c: c.first_entry <= number)
    if chunk is None:
        return derivation, session.next_offset
    begun = [offset for offset in chunk.open_lines if offset != NO_LINE]
    if not begun:
        return derivation, chunk.first_offset
    back = max(min(begun), chunk.first_offset - READ_BACK_BYTES, session.first_offset)
    first = await store.chunk_at(session.number, back) or chunk
    for source, offset in enumerate(chunk.open_lines):
        if session.first_offset <= offset < first.first_offset:
            derivation.recall(source, offset, *await _head(store, session, source, offset))
    return derivation, first.first_offset


async def _head(store: Store, session: Session, source: int, offset: int) -> tuple[int, bytes]:
    chunks = await store.chunks(session.number, offset, 2 * MAX_LINE_BYTES)
    parts = [
        records_from(chunk.records, chunk.first_offset, offset)[1]
        if chunk is chunks[0]
        else chunk.records
        for chunk in chunks
    ]
    return head_of(b"".join(parts), source)


async def _whole(store: Store, session: Session, chunk: Chunk | None) -> Chunk | None:
    """The chunk that begins where ``chunk`` does, with its records; it may have been merged meanwhile."""
    if chunk is None:
        return None
    found = await store.chunks(session.number, chunk.first_offset, 1)
    return found[0] if found else None
