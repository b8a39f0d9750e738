"""What the tests of the spool share: small spools, and a ledger of what must come out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ptyshipper import records
from ptyshipper.config import SpoolSettings
from ptyshipper.spool import leftovers
from ptyshipper.spool.directory import own_directory
from ptyshipper.spool.leftovers import Leftover
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.spool.spool import Spool
from ptyshipper.uplink.endpoint import parse_endpoint

DESCRIPTION = {"deployment_id": 1, "type": "runtime", "command": ["x"]}
SESSION_ID = bytes(range(16))
ENDPOINT = "http://backend:80/ingest"


class Warnings(list[str]):
    """A ``warn`` that keeps what it is given."""

    def __call__(self, text: str) -> None:
        self.append(text)


def open_spool(
    directory: Path | None,
    warnings: Warnings,
    max_bytes: int = 0,
    overflow: str = "drop",
    session_id: bytes = SESSION_ID,
) -> Spool:
    """A spool with the smallest bound there is, unless the test says otherwise."""
    settings = SpoolSettings((directory,) if directory else (), max_bytes, overflow)  # type: ignore[arg-type]
    spool = Spool.open(settings, session_id, DESCRIPTION, warnings)
    spool.address(ENDPOINT)
    return spool


def claim_all(directory: Path) -> Iterator[Leftover]:
    """What ``open_spool`` left."""
    return leftovers.claim_all(directory, ENDPOINT)


def readdress(directory: Path, url: str) -> None:
    """Make everything that is left in a spool as if it had been meant for this backend."""
    for path in directory.rglob("session.json"):
        with suppress(ValueError):
            value = json.loads(path.read_text())
            path.write_text(json.dumps({**value, "endpoint": parse_endpoint(url).identity}))


class Got(NamedTuple):
    """All that a reader gave: output and gaps, in order."""

    records: list[records.Record]
    end: int

    @property
    def output(self) -> bytes:
        return b"".join(r.payload for r in self.records if r.kind in records.OUTPUT_KINDS)

    @property
    def gaps(self) -> list[records.Gap]:
        return [records.read_gap(r.payload) for r in self.records if r.kind == records.Kind.GAP]

    @property
    def counted_bytes(self) -> int:
        return len(self.output) + sum(gap.lost_bytes for gap in self.gaps)


def read_all(reader: SpoolReader, offset: int = 0) -> Got:
    """Read until there is nothing more, checking that offsets add up."""
    found: list[records.Record] = []
    while (batch := reader.read(offset)).records:
        moved = 0
        for record in records.decode(batch.records):
            is_gap = record.kind == records.Kind.GAP
            moved += records.read_gap(record.payload).span if is_gap else record.size
            found.append(record)
        assert offset + moved == batch.next_offset
        assert len(batch.records) <= 65_536
        offset = batch.next_offset
    return Got(found, offset)


def read_spool(spool: Spool, offset: int = 0) -> Got:
    reader = SpoolReader(spool.ledger)
    try:
        return read_all(reader, offset)
    finally:
        reader.close()


def write(spool: Spool, *payloads: bytes, kind: int = records.Kind.STDOUT) -> None:
    """A turn of the pump for each payload."""
    for index, payload in enumerate(payloads):
        spool.append(kind, index, payload)
        spool.flush()


def own(directory: Path) -> Path:
    """Where in a spool's directory the sessions' folders are."""
    return Path(own_directory(directory))


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*/*.seg"))


def die(spool: Spool) -> None:
    """End as kill -9 ends a wrapper: the kernel closes what was open, and nothing else happens."""
    folder = spool._folder
    assert folder is not None
    spool.ledger.close()
    os.close(spool.data_fd)
    folder.close()
