"""Gap records, in words. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ptyshipper.records import GapCause, Record, read_gap

CAUSES = {
    GapCause.OVERFLOW: "the spool was full",
    GapCause.CORRUPT: "the spool was damaged",
    GapCause.SPOOL_FAILED: "the spool could not be written",
    GapCause.BACKEND_LOST: "the backend had lost them",
}


class Lost(NamedTuple):
    """Output that is missing here."""

    time_us: int
    lost_bytes: int
    cause: str

    def __str__(self) -> str:
        return f"{self.lost_bytes} bytes lost: {self.cause}"


def lost(record: Record) -> Lost:
    """A gap record, in words."""
    gap = read_gap(record.payload)
    known = gap.cause in GapCause.__members__.values()
    cause = CAUSES[GapCause(gap.cause)] if known else f"cause {gap.cause}"
    return Lost(record.time_us, gap.lost_bytes, cause)
