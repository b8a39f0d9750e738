"""A line by its number, and a text, in a session of 100 million lines that is really stored."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integration.bench.harness import Bench
from integration.bench.table import Figure
from ptyshipper.backend.digest import digest
from ptyshipper.backend.session import Chunk, Description
from ptyshipper.backend.store.base import Opening, Write
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.records import Kind, encode

LINES, QUICK_LINES, FEW_LINES = 100_000_000, 5_000_000, 10_000
LOOKS = 300
GOAL_MS = 10.0
_RECORD_LINES, _CHUNK_RECORDS = 4_000, 4
_LINE = b"line %09d\n"
_GREP_BYTES = 64_000_000
_ABSENT = "no line has this"
_MB = 1_000_000


def lines(bench: Bench) -> list[Figure]:
    """Through HTTP from a backend of its own, beside the same in a session of 10,000 lines."""
    count = QUICK_LINES if bench.quick else LINES
    with Bench(quick=bench.quick) as own:
        own.data_dir.mkdir()
        large, few = bytes(16), bytes(15) + b"\x01"
        asyncio.run(store_lines(own.data_dir, {large: count, few: FEW_LINES}))
        address = urlsplit(own.state.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        with closing(connection):
            ours = _look_up(connection, own.state.view_token, large, count)
            theirs = _look_up(connection, own.state.view_token, few, FEW_LINES)
            searched = _search(connection, own.state.view_token, large) / _MB
        name = f"line by its number, of {count // 1_000_000} million"
        grepped = _grep(own) / _MB
    peer = f"of {FEW_LINES:,}"
    median, last = statistics.median(ours), sorted(ours)[len(ours) * 99 // 100]
    return [
        Figure(
            f"{name}, median",
            median,
            "ms",
            peer,
            statistics.median(theirs),
            f"≤ {GOAL_MS:.0f}",
            median <= GOAL_MS,
        ),
        Figure(f"{name}, p99", last, "ms", peer, sorted(theirs)[len(theirs) * 99 // 100]),
        Figure("text search of all of it", searched, "MB/s", "grep -i of a file", grepped),
    ]


def _chunks(count: int) -> Iterator[bytes]:
    """The records of a session of so many lines, a chunk of them at a time."""
    thousand = b"".join(b"line ######%03d\n" % number for number in range(1_000))
    blocks = (thousand.replace(b"######", b"%06d" % number) for number in range(count // 1_000))
    records = list[bytes]()
    for index, block in enumerate(blocks):
        records.append(block)
        if len(records) * 1_000 == _RECORD_LINES * _CHUNK_RECORDS or index == count // 1_000 - 1:
            yield b"".join(
                encode(Kind.STDOUT, index * 1_000, b"".join(records[at : at + 4]))
                for at in range(0, len(records), 4)
            )
            records.clear()


async def store_lines(data_dir: Path, counts: dict[bytes, int]) -> None:
    """Sessions by their ids, of so many lines each, a thousand to a millisecond, into an SQLite store."""
    store = SqliteStore(data_dir)
    about = Description(1, "runtime", "bench", ("bench",), False, 1_700_000_000_000_000)
    openings = [Opening(session_id, about, None, False, 0) for session_id in counts]
    for session in (await store.commit([], openings)).sessions:
        for records in _chunks(counts[session.id]):
            batch = digest(records, session.next_offset, session.open_lines)
            offset, entries, begun = session.next_offset, session.entries, session.open_lines
            session.append(batch)
            chunk = Chunk(
                offset,
                session.next_offset,
                batch.first_time_us,
                batch.last_time_us,
                entries,
                session.entries,
                begun,
                records,
            )
            if (await store.commit([Write(session, chunk)])).refused:
                raise SystemExit("the store refused a chunk")
        assert session.entries == counts[session.id]
    await store.close()


def _look_up(
    connection: http.client.HTTPConnection, token: str, session_id: bytes, count: int
) -> list[float]:
    """Milliseconds that each of many lines took, at random all over the session."""
    source, took_ms = random.Random(1), list[float]()
    for _ in range(LOOKS):
        number = source.randrange(count)
        began_s = time.perf_counter()
        answer = json.loads(_get(connection, token, session_id, f"lines?from={number}&limit=1"))
        took_ms.append((time.perf_counter() - began_s) * 1_000)
        (entry,) = answer["entries"]
        if (entry["number"], entry["text"]) != (number, (_LINE % number).decode().rstrip()):
            raise SystemExit(f"line {number} is {entry}")
    return took_ms


def _search(connection: http.client.HTTPConnection, token: str, session_id: bytes) -> float:
    """Bytes of records a second."""
    began_s = time.perf_counter()
    query = f"search?q={_ABSENT.replace(' ', '+')}"
    body = _get(connection, token, session_id, query)
    took_s = time.perf_counter() - began_s
    said: list[dict[str, Any]] = [json.loads(line) for line in body.splitlines()]
    if said[-1]["end"]["reason"] != "complete":
        raise SystemExit(f"the search ended with {said[-1]}")
    size: int = said[0]["progress"]["all_bytes"]
    return size / took_s


def _grep(own: Bench) -> float:
    path = own.directory / "text"
    with open(path, "wb") as file:
        file.writelines(_chunks(_GREP_BYTES // len(_LINE % 0)))
    began_s = time.perf_counter()
    subprocess.run(
        ["grep", "-a", "-i", "-c", _ABSENT, path], stdout=subprocess.DEVNULL, check=False
    )
    return os.path.getsize(path) / (time.perf_counter() - began_s)


def _get(connection: http.client.HTTPConnection, token: str, session_id: bytes, rest: str) -> bytes:
    path = f"/api/sessions/{session_id.hex()}/{rest}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status} {body!r}")
    return body
