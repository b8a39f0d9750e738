"""Successors: what they find, what they leave alone, and what they never do twice."""

from __future__ import annotations

import fcntl
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.records import HEADER_BYTES, GapCause, Kind
from ptyshipper.spool import leftovers
from ptyshipper.spool import reader as reader_module
from ptyshipper.spool.directory import SessionFolder
from ptyshipper.spool.leftovers import Leftover, prune
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.spool.segment import FILE_HEADER_BYTES, MAX_FILE_BYTES
from tests.spool.spools import (
    DESCRIPTION,
    SESSION_ID,
    Got,
    Warnings,
    claim_all,
    die,
    open_spool,
    own,
    read_all,
    segment_files,
    write,
)


def leave(directory: Path, *payloads: bytes, session_id: bytes = SESSION_ID) -> Path:
    """A session that was killed."""
    spool = open_spool(directory, Warnings(), session_id=session_id)
    write(spool, *payloads)
    die(spool)
    return own(directory) / session_id.hex()


def read(leftover: Leftover) -> Got:
    reader = SpoolReader(leftover.ledger)
    try:
        return read_all(reader)
    finally:
        reader.close()


def test_a_dead_session_is_delivered_and_deleted(tmp_path: Path) -> None:
    leave(tmp_path, *[b"x" * 10_000] * 30)
    (found,) = [
        (left.session_id, left.description, read(left), left.delete())
        for left in claim_all(tmp_path)
    ]
    assert found[0] == SESSION_ID
    assert found[1] == DESCRIPTION
    assert found[2].output == b"x" * 300_000
    assert found[2].gaps == []
    assert list(tmp_path.iterdir()) == []


def test_a_living_session_is_left_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, b"x")
    assert list(claim_all(tmp_path)) == []
    prune(tmp_path, 0, time.time() + 10**9)
    assert len(segment_files(tmp_path)) == 1
    spool.close()


def test_two_successors_do_not_deliver_the_same_session(tmp_path: Path) -> None:
    leave(tmp_path, b"x")
    first = claim_all(tmp_path)
    leftover = next(first)
    assert list(claim_all(tmp_path)) == []
    leftover.close()
    assert [left.close() for left in claim_all(tmp_path)] == [None]


def test_a_session_that_was_delivered_while_the_other_looked_is_not_delivered_again(
    tmp_path: Path,
) -> None:
    """The lock of a deleted file can be had."""
    folder = leave(tmp_path, b"x")
    lock = os.open(folder / "session.json", os.O_RDONLY)
    (leftover,) = claim_all(tmp_path)
    original = fcntl.flock

    def flock(fd: int, how: int) -> None:
        leftover.delete()
        original(fd, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert list(claim_all(tmp_path)) == []
    os.close(lock)


def test_wrappers_killed_in_mid_write_lose_nothing_that_was_whole(tmp_path: Path) -> None:
    """kill -9 of a process that writes as fast as it can, over and over, in one directory."""
    script = (
        "import sys; from pathlib import Path; from tests.spool.spools import *\n"
        "spool = open_spool(Path(sys.argv[1]), Warnings(), session_id=os.urandom(16))\n"
        "for index in range(10**9):\n"
        "    write(spool, b'%d,' % index)\n"
        "    if index == 100: print(flush=True)\n"
    )
    for _ in range(5):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
    found = [(read(left), left.delete())[0] for left in claim_all(tmp_path)]
    assert len(found) == 5
    for got in found:
        numbers = got.output.split(b",")[:-1]
        assert len(numbers) > 100
        if not got.gaps:
            assert numbers == [b"%d" % index for index in range(len(numbers))]


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 99])
def test_a_torn_tail_is_the_end_and_no_loss(cut: int, tmp_path: Path) -> None:
    leave(tmp_path, b"a" * 100, b"b" * 100)
    (path,) = segment_files(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    assert got.output == b"a" * 100
    assert got.gaps == []
    leftover.close()


@pytest.mark.parametrize("cut", [1, 39_999, 40_015])
def test_a_torn_tail_that_is_all_of_the_newest_segment_is_no_loss_either(
    cut: int, tmp_path: Path
) -> None:
    """A record that begins a segment, and a wrapper killed while it wrote that."""
    leave(tmp_path, b"x" * 40_000, b"y" * 40_000)
    newest = segment_files(tmp_path)[-1]
    assert len(segment_files(tmp_path)) == 2
    os.truncate(newest, newest.stat().st_size - cut)
    (got,) = [read(left) for left in claim_all(tmp_path)]
    assert (got.output, got.gaps) == (b"x" * 40_000, [])


def test_a_damaged_tail_that_is_not_torn_is_a_gap(tmp_path: Path) -> None:
    """It held records, though nobody can tell how much output: at most what it is long."""
    leave(tmp_path, *[b"x" * 10_000] * 3)
    (path,) = segment_files(tmp_path)
    with open(path, "r+b") as file:
        file.seek(FILE_HEADER_BYTES + 10_016)
        file.write(b"\xff" * 20_032)
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    (gap,) = got.gaps
    assert (got.output, gap.span, gap.cause) == (b"x" * 10_000, 20_032, GapCause.CORRUPT)
    assert 20_000 <= gap.lost_bytes <= gap.span
    assert not leftover.has_exited
    leftover.close()


@pytest.mark.parametrize("byte", [4, 5, 6, 7])
def test_one_flipped_byte_costs_one_record(byte: int, tmp_path: Path) -> None:
    """With the program's exit behind it, in a session that died."""
    spool = open_spool(tmp_path, Warnings(), max_bytes=2**26)
    write(spool, *[b"%03d," % n * 80 for n in range(190)])
    spool.append(Kind.EXITED, 190, records.exited(5, 0, False))
    spool.flush()
    die(spool)
    (path,) = segment_files(tmp_path)
    with open(path, "r+b") as file:
        file.seek(FILE_HEADER_BYTES + 48 * 336 + byte)
        file.write(b"\x11")
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    assert got.gaps == [records.Gap(336, 320, GapCause.CORRUPT)]
    assert got.output == b"".join(b"%03d," % n * 80 for n in range(190) if n != 48)
    assert leftover.has_exited
    leftover.close()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_damage_before_the_last_record_is_gaps_that_do_not_count_too_little(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = random.Random(seed)
    directory = tmp_path_factory.mktemp("spool")
    spool = open_spool(directory, Warnings(), max_bytes=source.choice([0, 2**26]))
    for time_us in range(30):
        data = source.randbytes(source.choice([1, 100, 30_000]))
        spool.append(Kind.STDOUT, time_us, data)
        spool.flush()
    total = spool.ledger.head.output_bytes
    spool.append(Kind.EXITED, 30, records.exited(0, 0, False))
    spool.flush()
    die(spool)
    for path in segment_files(directory):
        for _ in range(source.randrange(4)):
            size = source.choice([1, 40, 5_000])
            end = path.stat().st_size - HEADER_BYTES - 3 - size
            if end > FILE_HEADER_BYTES:
                with open(path, "r+b") as file:
                    file.seek(source.randrange(FILE_HEADER_BYTES, end))
                    file.write(source.randbytes(size))
    (leftover,) = claim_all(directory)
    got = read(leftover)
    assert leftover.has_exited
    assert got.records[-1].kind == Kind.EXITED
    assert total <= got.counted_bytes <= total + 30 * HEADER_BYTES
    leftover.close()


def leave_what_looks_torn(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three records; the second one's header tells more than there is, and no search goes on behind."""
    monkeypatch.setattr(reader_module, "_SEARCH_BUDGET_BYTES", 0)
    folder = leave(directory, b"a" * 100, b"b" * 100, b"c" * 100)
    (path,) = folder.glob("*.seg")
    with open(path, "r+b") as file:
        file.seek(FILE_HEADER_BYTES + 116 + 6)
        file.write(b"\xf0")
    return folder


def test_what_is_held_behind_the_backends_offset_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_what_looks_torn(tmp_path, monkeypatch)
    (leftover,) = claim_all(tmp_path)
    assert leftover.ledger.head.offset == 116
    leftover.take_up(116)
    leftover.take_up(348)
    leftover.take_up(2**40)
    assert leftover.ledger.head.offset == 116
    leftover.take_up(232)
    assert leftover.ledger.head.offset == 348
    reader = SpoolReader(leftover.ledger)
    assert (got := read_all(reader, 232)).output == b"c" * 100
    assert got.gaps == []
    reader.close()
    leftover.close()


def test_a_damaged_stretch_in_the_newest_segment_is_counted_as_all_output(tmp_path: Path) -> None:
    """Behind it no count is stored: at most what is long, and never less than was lost."""
    leave(tmp_path, *[b"x" * 100] * 50)
    (path,) = segment_files(tmp_path)
    with open(path, "r+b") as file:
        file.seek(FILE_HEADER_BYTES + 10 * 116)
        file.write(bytes(3 * 116))
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    (gap,) = got.gaps
    assert (gap.span, gap.cause) == (348, GapCause.CORRUPT)
    assert 300 <= gap.lost_bytes <= 348
    assert len(got.output) == 4_700
    leftover.close()


def test_a_tail_longer_than_a_record_can_be_was_several_and_is_a_gap(tmp_path: Path) -> None:
    leave(tmp_path, b"a" * 100)
    (path,) = segment_files(tmp_path)
    os.truncate(path, path.stat().st_size + 70_000)
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    assert [(gap.span, gap.cause) for gap in got.gaps] == [(70_000, GapCause.CORRUPT)]
    leftover.close()


def test_a_tail_of_zeros_is_the_end(tmp_path: Path) -> None:
    """What a file system may leave of an append after a power cut."""
    leave(tmp_path, b"a" * 100)
    (path,) = segment_files(tmp_path)
    os.truncate(path, path.stat().st_size + 4096)
    (leftover,) = claim_all(tmp_path)
    assert read(leftover).gaps == []
    leftover.close()


def test_damage_before_the_tail_is_a_gap(tmp_path: Path) -> None:
    leave(tmp_path, b"a" * 100, b"b" * 100, b"c" * 100)
    (path,) = segment_files(tmp_path)
    with open(path, "r+b") as file:
        file.seek(FILE_HEADER_BYTES + 116 + 50)
        file.write(b"!")
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    assert got.output == b"a" * 100 + b"c" * 100
    assert got.gaps == [records.Gap(116, 100, GapCause.CORRUPT)]
    leftover.close()


@pytest.mark.parametrize("damaged", [b"", b"short", b"\0" * 200, b"PTYSPL\x00\x01" + b"\1" * 200])
def test_a_segment_that_is_none_is_a_gap(damaged: bytes, tmp_path: Path) -> None:
    leave(tmp_path, *[b"x" * 10_000] * 20)
    segment_files(tmp_path)[1].write_bytes(damaged)
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    assert [gap.cause for gap in got.gaps] == [GapCause.CORRUPT]
    assert got.counted_bytes == 200_000
    leftover.close()


def test_a_newest_segment_that_is_none_is_a_gap_too(tmp_path: Path) -> None:
    """Nothing follows that tells what was in it; so its size does."""
    leave(tmp_path, *[b"x" * 10_000] * 20)
    newest = segment_files(tmp_path)[-1]
    with open(newest, "r+b") as file:
        file.write(b"!")
    (leftover,) = claim_all(tmp_path)
    got = read(leftover)
    (gap,) = got.gaps
    assert gap.cause == GapCause.CORRUPT
    assert gap.span == newest.stat().st_size - FILE_HEADER_BYTES
    assert 200_000 <= got.counted_bytes <= 200_000 + 20 * records.HEADER_BYTES
    assert not leftover.has_exited
    leftover.close()


@pytest.mark.parametrize("exited", [False, True])
def test_whether_the_program_exited_is_known(exited: bool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, Warnings())
    write(spool, b"x")
    if exited:
        write(spool, records.exited(0, 0, False), kind=Kind.EXITED)
    die(spool)
    (leftover,) = claim_all(tmp_path)
    assert leftover.has_exited is exited
    leftover.close()


def test_a_session_killed_before_its_first_record_is_taken_away(tmp_path: Path) -> None:
    leave(tmp_path)
    (leftover,) = claim_all(tmp_path)
    assert read(leftover).records == []
    leftover.delete()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_session_is_left_alone(tmp_path: Path) -> None:
    outside = leave(tmp_path / "outside", b"x").parent
    spool = own(tmp_path / "spool")
    spool.mkdir(0o700, parents=True)
    name = SESSION_ID.hex()
    (spool / "README").write_text("mine")
    (spool / "not-hex").mkdir()
    (spool / name.upper().replace("0", "A")).mkdir()
    (spool / name).symlink_to(outside / name)
    (spool / ("1" * 32)).write_text("a file")
    (spool / ("2" * 32)).mkdir()
    (spool / ("3" * 32)).mkdir()
    (spool / ("3" * 32) / "session.json").symlink_to("/etc/passwd")
    (spool / ("4" * 32)).mkdir()
    os.mkfifo(spool / ("4" * 32) / "session.json")
    for number, text in enumerate(["", "[]", "{", "[" * 15_000, "x" * 20_000], 5):
        (spool / (str(number) * 32)).mkdir()
        (spool / (str(number) * 32) / "session.json").write_text(text)
    before = sorted(spool.rglob("*"))
    assert list(claim_all(tmp_path / "spool")) == []
    assert sorted(spool.rglob("*")) == before


def test_hostile_segments_are_passed_over(tmp_path: Path) -> None:
    folder = leave(tmp_path, b"x" * 100)
    (good,) = segment_files(tmp_path)
    (folder / f"{10**6:020d}.seg").symlink_to(good)
    os.mkfifo(folder / f"{10**7:020d}.seg")
    (folder / f"{10**8:020d}.seg").mkdir()
    with open(folder / f"{10**9:020d}.seg", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    (folder / "garbage.seg").write_text("x")
    (folder / f"{1:020d}.seg").write_bytes(good.read_bytes())
    (leftover,) = claim_all(tmp_path)
    assert read(leftover).output == b"x" * 100
    leftover.close()


def test_a_session_for_another_backend_is_left_to_age(tmp_path: Path) -> None:
    """What a program printed for one reader is not handed to another: the setting was changed."""
    folder = leave(tmp_path, b"x" * 100)
    assert list(leftovers.claim_all(tmp_path, "http://another:80/ingest")) == []
    assert len(list(folder.glob("*.seg"))) == 1
    assert [left.close() for left in claim_all(tmp_path)] == [None]


def test_a_session_that_nobody_addressed_is_handed_to_nobody(tmp_path: Path) -> None:
    folder = leave(tmp_path, b"x" * 100)
    (folder / "session.json").write_text(json.dumps(DESCRIPTION))
    assert list(claim_all(tmp_path)) == []
    assert len(list(folder.glob("*.seg"))) == 1


def test_one_killed_before_it_was_addressed_is_taken_away(tmp_path: Path) -> None:
    SessionFolder.create(str(tmp_path), SESSION_ID, DESCRIPTION).close()
    assert list(claim_all(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_others_may_write_to_holds_nothing_for_us(tmp_path: Path) -> None:
    leave(tmp_path, b"x")
    own(tmp_path).chmod(0o777)
    assert list(claim_all(tmp_path)) == []
    prune(tmp_path, 0, time.time() + 10**9)
    assert len(segment_files(tmp_path)) == 1


def test_another_sessions_segment_is_passed_over(tmp_path: Path) -> None:
    folder = leave(tmp_path, b"x" * 100)
    other = leave(tmp_path, b"y" * 500, session_id=b"\xff" * 16)
    (good,) = other.glob("*.seg")
    good.rename(folder / good.name)
    found = {left.session_id: (read(left).output, left.close())[0] for left in claim_all(tmp_path)}
    assert found == {SESSION_ID: b"", b"\xff" * 16: b""}


def test_no_directory_is_nothing_to_deliver(tmp_path: Path) -> None:
    assert list(claim_all(tmp_path / "none")) == []
    prune(tmp_path / "none", 0, 0.0)


def leave_many(directory: Path, count: int, now_s: float) -> None:
    """The one of id 0 is the newest."""
    for age in range(count):
        folder = leave(directory, b"x" * 10_000, session_id=bytes([age]) * 16)
        os.utime(folder, (now_s - age, now_s - age))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in own(directory).iterdir())


def test_the_oldest_go_when_they_hold_too_much(tmp_path: Path) -> None:
    """By what they take of the disk: here five blocks each, one for the folder and one for its name."""
    now_s = time.time()
    leave_many(tmp_path, 4, now_s)
    assert prune(tmp_path, 2 * 5 * 4096 + 4096, now_s) == 2 * 5 * 4096
    assert names(tmp_path) == ["00" * 16, "01" * 16]


def test_the_newest_stays_whatever_it_holds(tmp_path: Path) -> None:
    """Its own bound was the same, but for headers and blocks."""
    now_s = time.time()
    leave_many(tmp_path, 2, now_s)
    prune(tmp_path, 10_000, now_s)
    assert names(tmp_path) == ["00" * 16]


def test_the_oldest_go_when_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "MAX_FOLDERS", 2)
    now_s = time.time()
    leave_many(tmp_path, 4, now_s)
    prune(tmp_path, 2**30, now_s)
    assert names(tmp_path) == ["00" * 16, "01" * 16]


def test_what_was_killed_while_it_was_made_or_taken_away_does_not_stay_for_ever(
    tmp_path: Path,
) -> None:
    """A folder without a description; a young one may be a wrapper's that is still at it."""
    now_s = time.time()
    leave(tmp_path, b"x")
    ages_s = {"1" * 32: 10, "2" * 32: 100, ".new-" + "3" * 32: 10, ".new-" + "4" * 32: 100}
    for name, age_s in ages_s.items():
        (own(tmp_path) / name).mkdir()
        os.utime(own(tmp_path) / name, (now_s - age_s,) * 2)
    prune(tmp_path, 0, now_s)
    assert names(tmp_path) == sorted([SESSION_ID.hex(), "1" * 32, ".new-" + "3" * 32])


def test_what_nobody_took_for_a_week_goes(tmp_path: Path) -> None:
    now_s = time.time()
    old, young = (leave(tmp_path, b"x", session_id=bytes([n]) * 16) for n in range(2))
    unfinished = own(tmp_path) / ".new-0123456789abcdef0123456789abcdef"
    unfinished.mkdir()
    (unfinished / "session.json").write_text("")
    for folder in (old, unfinished):
        os.utime(folder, (now_s - leftovers.MAX_AGE_S - 60,) * 2)
    prune(tmp_path, 2**30, now_s)
    assert list(own(tmp_path).iterdir()) == [young]


def test_files_of_others_are_never_deleted(tmp_path: Path) -> None:
    folder = leave(tmp_path, b"x")
    (folder / "precious").write_text("mine")
    prune(tmp_path, 0, time.time() + leftovers.MAX_AGE_S + 60)
    assert [path.name for path in folder.iterdir()] == ["precious"]
