"""What a store tells of its chunks without their records."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ptyshipper.backend.session import Chunk, read_description
from ptyshipper.backend.store.base import Opening, Sketch, Write
from ptyshipper.backend.store.sqlite import SqliteStore
from tests.support.chunked import session_of
from tests.support.server import describe, output


def test_outline_is_the_chunks_in_order(tmp_path: Path) -> None:
    """From the first that begins at an offset or behind it, so many; of other sessions none."""
    # Large ones, which are not merged.
    parts = [output(b"%d\n" % number * 9_000, time_us=number) for number in range(5)]
    chunks = session_of(parts)[1]

    def sketch(chunk: Chunk) -> Sketch:
        return Sketch(*chunk[:6], len(chunk.records))

    async def scenario() -> None:
        store = SqliteStore(tmp_path)
        about = read_description(describe())
        openings = [Opening(bytes([number]) * 16, about, None, False, 0) for number in (1, 2)]
        for session in (await store.commit([], openings)).sessions:
            for chunk in chunks:
                session.next_offset, session.entries = chunk.end_offset, chunk.end_entry
                assert not (await store.commit([Write(session, chunk)])).refused
        assert await store.outline(1, 0, 10) == [sketch(chunk) for chunk in chunks]
        assert await store.outline(2, 0, 2) == [sketch(chunk) for chunk in chunks[:2]]
        behind = chunks[1].end_offset
        assert await store.outline(1, behind, 10) == [sketch(chunk) for chunk in chunks[2:]]
        assert await store.outline(1, behind + 1, 10) == [sketch(chunk) for chunk in chunks[3:]]
        assert await store.outline(3, 0, 10) == []
        await store.close()

    asyncio.run(scenario())
