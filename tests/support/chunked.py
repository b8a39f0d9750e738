"""Sessions as chunks, without a backend: records, cut as one likes, in a store that only reads."""

from __future__ import annotations

from collections.abc import Sequence

from ptyshipper.backend.digest import digest
from ptyshipper.backend.session import Chunk, Description, Session, merged

ABOUT = Description(7, "runtime", "web-0", ("sh",), True, 1_700_000_000_000_000)


def session_of(
    batches: Sequence[bytes], *, first_arrival: int = 1_000
) -> tuple[Session, list[Chunk]]:
    """The session that these batches make, each a chunk; their ids are 100 apart, and further."""
    session, chunks, arrival = Session(bytes(16), ABOUT, number=1), list[Chunk](), first_arrival
    for records in batches:
        batch = digest(records, session.next_offset, session.open_lines, max_records=1 << 30)
        first, open_lines, offset = session.entries, session.open_lines, session.next_offset
        session.append(batch)
        chunks.append(
            Chunk(
                offset,
                session.next_offset,
                batch.first_time_us,
                batch.last_time_us,
                first,
                session.entries,
                open_lines,
                records,
                arrival,
            )
        )
        arrival += 100 + session.entries - first
    return session, chunks


def merge(chunks: list[Chunk], at: int, count: int) -> list[Chunk]:
    """With ``count`` chunks from ``at`` on made one, as a store does."""
    part = chunks[at : at + count]
    return [*chunks[:at], *([merged(part)] if part else []), *chunks[at + count :]]


class ReadOnlyStore:
    """What readers ask of a store, of one session."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.stored = chunks
        self.looks = 0

    async def chunks(self, session: int, from_offset: int, max_bytes: int) -> list[Chunk]:
        found, size = list[Chunk](), 0
        for chunk in self.stored:
            if chunk.end_offset > from_offset and size < max_bytes:
                found.append(chunk)
                size += len(chunk.records)
        return found

    async def chunk_at(self, session: int, offset: int) -> Chunk | None:
        self.looks += 1
        before = [chunk for chunk in self.stored if chunk.first_offset <= offset]
        found = before[-1:] or self.stored[:1]
        return found[0]._replace(records=b"", marks=b"") if found else None
