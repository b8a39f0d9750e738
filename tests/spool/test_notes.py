"""The note outlives its writer, and a place that can't hold it is no matter."""

from __future__ import annotations

from pathlib import Path

from ptyshipper.spool.leftovers import claim_all
from ptyshipper.spool.notes import NOTE_FILE, Notes
from tests.spool.spools import ENDPOINT, Warnings, die, open_spool, own, write


def test_the_last_note_is_read_by_whoever_comes_next(tmp_path: Path) -> None:
    notes = Notes(str(tmp_path))
    assert notes.read() == b""
    notes.write(b"first")
    notes.write(b"again")
    assert notes.read() == Notes(str(tmp_path)).read() == b"again"
    assert (tmp_path / NOTE_FILE).stat().st_mode & 0o777 == 0o600


def test_without_a_folder_it_is_remembered_here() -> None:
    notes = Notes(None)
    assert notes.read() == b""
    notes.write(b"x")
    assert notes.read() == b"x"


def test_a_folder_that_is_gone_is_no_matter(tmp_path: Path) -> None:
    notes = Notes(str(tmp_path / "gone"))
    notes.write(b"x")
    assert notes.read() == b"x"
    assert Notes(str(tmp_path / "gone")).read() == b""


def test_what_somebody_put_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / NOTE_FILE).symlink_to(tmp_path / "elsewhere")
    notes = Notes(str(tmp_path))
    assert notes.read() == b""
    notes.write(b"mine")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_leftover_has_the_note_of_its_wrapper_and_takes_it_away_with_itself(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, b"x")
    spool.notes.write(b"so far")
    die(spool)
    (leftover,) = claim_all(tmp_path, ENDPOINT)
    assert leftover.notes.read() == b"so far"
    leftover.delete()
    assert not own(tmp_path).exists()
