"""What is said of what is missing."""

from __future__ import annotations

from ptyshipper import records
from ptyshipper.printed.losses import CAUSES, lost
from ptyshipper.records import GapCause, Kind, Record


def test_every_cause_has_words() -> None:
    assert set(CAUSES) == set(GapCause)


def test_a_loss_says_how_much_and_why() -> None:
    found = lost(Record(Kind.GAP, 5, records.gap(416, 400, GapCause.OVERFLOW)))
    assert found == (5, 400, "the spool was full")
    assert str(found) == "400 bytes lost: the spool was full"


def test_a_cause_that_nobody_knows_is_told_by_its_number() -> None:
    payload = records.gap(16, 3, GapCause.OVERFLOW)[:-1] + b"\x63"
    assert str(lost(Record(Kind.GAP, 5, payload))) == "3 bytes lost: cause 99"
