"""The writer: what it takes comes out again, on a disk that works, fills, breaks or goes away."""

from __future__ import annotations

import errno
import os
import random
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptyshipper import records
from ptyshipper.records import GapCause, Kind
from ptyshipper.spool.reader import SpoolReader
from ptyshipper.spool.segment import FILE_HEADER_BYTES
from ptyshipper.spool.spool import MAX_SUBSTITUTE_BYTES, MIN_BYTES, Spool
from tests.spool.spools import (
    Warnings,
    claim_all,
    die,
    open_spool,
    own,
    read_all,
    read_spool,
    segment_files,
    write,
)


@pytest.fixture(params=["files", "memory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "spool" if request.param == "files" else None


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


def test_what_is_written_is_read(directory: Path | None, warnings: Warnings) -> None:
    spool = open_spool(directory, warnings)
    payloads = [b"a", b"b" * records.MAX_PAYLOAD_BYTES, b"", b"c" * 100]
    write(spool, payloads[0], payloads[1], payloads[3])
    got = read_spool(spool)
    assert got.output == b"".join(payloads)
    assert got.end == spool.ledger.head.offset
    assert warnings == []
    spool.close()


def test_what_was_appended_and_not_flushed_can_not_be_read(warnings: Warnings) -> None:
    spool = open_spool(None, warnings)
    spool.append(Kind.STDOUT, 0, b"x")
    assert read_spool(spool).records == []
    spool.flush()
    assert read_spool(spool).output == b"x"
    spool.close()


def test_more_records_in_a_turn_than_one_writev_takes(
    directory: Path | None, warnings: Warnings
) -> None:
    spool = open_spool(directory, warnings)
    for index in range(3000):
        spool.append(Kind.STDERR, index, b"%d," % index)
    spool.flush()
    assert read_spool(spool).output == b"".join(b"%d," % index for index in range(3000))
    spool.close()


def test_the_reader_is_woken_where_it_asked_to_be(warnings: Warnings) -> None:
    spool = open_spool(None, warnings)
    woken = select.poll()
    woken.register(spool.data_fd, select.POLLIN)
    spool.ledger.wake_at_offset = 40
    write(spool, b"x" * 10)
    assert not woken.poll(0)
    write(spool, b"x" * 10)
    assert woken.poll(0)
    spool.close()


def test_files_are_their_owners_alone(tmp_path: Path, warnings: Warnings) -> None:
    before = os.umask(0o777)
    try:
        spool = open_spool(tmp_path / "s", warnings)
        write(spool, b"x")
    finally:
        os.umask(before)
    (folder,) = own(tmp_path / "s").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 2
    spool.close()


def test_an_acknowledged_session_leaves_nothing_behind(tmp_path: Path, warnings: Warnings) -> None:
    spool = open_spool(tmp_path, warnings)
    write(spool, b"x")
    SpoolReader(spool.ledger).release(spool.ledger.head.offset, 0.0)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_an_unacknowledged_session_stays(tmp_path: Path, warnings: Warnings) -> None:
    spool = open_spool(tmp_path, warnings)
    write(spool, b"x")
    spool.close()
    assert len(segment_files(tmp_path)) == 1


def test_overflow_drops_from_the_old_end_into_a_gap_that_adds_up(
    directory: Path | None, warnings: Warnings
) -> None:
    spool = open_spool(directory, warnings)
    payloads = [bytes([index]) * 10_000 for index in range(200)]
    write(spool, *payloads)
    got = read_spool(spool)
    (gap,) = got.gaps
    assert gap.cause == GapCause.OVERFLOW
    assert got.counted_bytes == 2_000_000
    assert got.output.startswith(payloads[0])
    assert got.output.endswith(payloads[-1])
    held_bytes = sum(path.stat().st_size for path in segment_files(directory)) if directory else 0
    assert held_bytes <= MIN_BYTES
    assert len(got.output) > MIN_BYTES // 2
    spool.close()


def test_the_dead_take_of_the_same_bound_but_no_more_than_half(
    directory: Path | None, warnings: Warnings
) -> None:
    spool = open_spool(directory, warnings)
    spool.dead_bytes = 2**30
    write(spool, *[b"x" * 10_000] * 200)
    got = read_spool(spool)
    assert got.counted_bytes == 2_000_000
    assert (len(got.output) <= MIN_BYTES // 2) == (directory is not None)
    assert len(got.output) > MIN_BYTES // 4
    spool.close()


def test_overflow_spares_what_was_sent_and_not_acknowledged(
    directory: Path | None, warnings: Warnings
) -> None:
    """So that a gap's count can be told from where the backend turns out to be."""
    spool = open_spool(directory, warnings)
    reader = SpoolReader(spool.ledger)
    write(spool, *[b"x" * 10_000] * 12)
    sent = reader.read(reader.read(0).next_offset).next_offset
    write(spool, *[b"y" * 10_000] * 200)
    # The connection broke: the backend took just the first record.
    got = read_all(reader, 10_016)
    assert got.counted_bytes == 2_110_000
    assert len(got.gaps) == 1
    assert sent > 100_000
    reader.close()
    spool.close()


def test_blocking_drops_nothing_and_tells_of_room(
    directory: Path | None, warnings: Warnings
) -> None:
    spool = open_spool(directory, warnings, overflow="block")
    room = select.poll()
    room.register(spool.room_fd, select.POLLIN)
    written = 0
    for _ in range(3):
        while spool.has_room:
            write(spool, b"x" * 10_000)
            written += 10_000
        assert not room.poll(0)
        reader = SpoolReader(spool.ledger)
        got = read_all(reader)
        assert got.gaps == [] or got.gaps[0].cause == GapCause.BACKEND_LOST
        assert written - got.gaps[0].lost_bytes if got.gaps else written <= MIN_BYTES + 65_536
        reader.release(got.end, 0.0)
        reader.close()
        assert room.poll(0)
        assert spool.has_room
    spool.close()


def test_nothing_waits_for_room_that_nobody_will_make(
    directory: Path | None, warnings: Warnings
) -> None:
    spool = open_spool(directory, warnings, overflow="block")
    while spool.has_room:
        write(spool, b"x" * 10_000)
    spool.abandon()
    write(spool, *[b"x" * 10_000] * 100)
    assert spool.has_room
    spool.close()


def test_memory_is_freed_when_nobody_will_read(warnings: Warnings) -> None:
    spool = open_spool(None, warnings)
    write(spool, b"x" * 10_000)
    spool.abandon()
    write(spool, b"x" * 10_000)
    assert spool.ledger.first_offset() == spool.ledger.head.offset
    spool.close()


@pytest.mark.parametrize("make", ["file", "below a file", "long"])
def test_a_directory_that_can_not_be_is_one_warning(
    make: str, tmp_path: Path, warnings: Warnings
) -> None:
    (tmp_path / "file").write_text("")
    directory = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file/x",
        "long": tmp_path / ("x" * 300),
    }[make]
    spool = open_spool(directory, warnings)
    write(spool, *[b"x" * 1000] * 10)
    assert read_spool(spool).output == b"x" * 10_000
    assert len(warnings) == 1
    assert warnings[0].startswith(f"can't spool in {directory}: ")
    spool.close()


def test_a_directory_that_is_not_ours_alone_is_one_warning(
    tmp_path: Path, warnings: Warnings
) -> None:
    own(tmp_path).mkdir()
    own(tmp_path).chmod(0o777)
    spool = open_spool(tmp_path, warnings)
    write(spool, b"x")
    assert read_spool(spool).output == b"x"
    name = own(tmp_path).name
    assert warnings == [
        f"can't spool in {tmp_path}: others may write to {name} in it; "
        "what is not shipped yet is kept in memory"
    ]
    spool.close()


class FailingDisk:
    """Takes ``room_bytes`` more, then fails, as ``write(2)`` does: first short, then with an error."""

    def __init__(self, room_bytes: int, code: int) -> None:
        self.room_bytes, self.code = room_bytes, code
        self._write, self._writev = os.write, os.writev

    def write(self, fd: int, data: bytes) -> int:
        if self.room_bytes <= 0:
            raise OSError(self.code, os.strerror(self.code))
        size = self._write(fd, data[: self.room_bytes])
        self.room_bytes -= size
        return size

    def writev(self, fd: int, buffers: list[bytes]) -> int:
        return self.write(fd, b"".join(buffers))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("room_bytes", [0, 1, 63, 64, 65, 1_000, 10_100, 70_000, 100_001])
def test_a_disk_that_fails_costs_one_warning_and_no_byte(
    code: int, room_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = Warnings()
    spool = open_spool(tmp_path, warnings)
    disk = FailingDisk(room_bytes, code)
    monkeypatch.setattr(os, "write", disk.write)
    monkeypatch.setattr(os, "writev", disk.writev)
    payloads = [bytes([index]) * 10_000 for index in range(30)]
    write(spool, *payloads)
    got = read_spool(spool)
    assert got.output == b"".join(payloads)
    assert got.gaps == []
    assert warnings == [
        f"the spool failed: {os.strerror(code)}; what is not shipped yet is kept in memory"
    ]
    spool.close()


def test_a_disk_that_fails_leaves_no_torn_record_for_a_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, Warnings())
    disk = FailingDisk(25_000, errno.ENOSPC)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", disk.write)
        patch.setattr(os, "writev", disk.writev)
        write(spool, *[b"x" * 10_000] * 5)
    (file,) = segment_files(tmp_path)
    assert file.stat().st_size == FILE_HEADER_BYTES + 2 * 10_016
    die(spool)
    (leftover,) = claim_all(tmp_path)
    assert leftover.ledger.head.output_bytes == 20_000
    leftover.close()


def test_what_neither_disk_nor_memory_holds_is_a_gap_that_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, Warnings(), max_bytes=2**30)
    disk = FailingDisk(100_000, errno.ENOSPC)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", disk.write)
        patch.setattr(os, "writev", disk.writev)
        write(spool, *[b"x" * 60_000] * 300)
    got = read_spool(spool)
    (gap,) = got.gaps
    assert gap.cause == GapCause.SPOOL_FAILED
    assert got.counted_bytes == 18_000_000
    assert MAX_SUBSTITUTE_BYTES // 2 < len(got.output) <= MAX_SUBSTITUTE_BYTES + 100_000
    spool.close()


def test_a_directory_removed_while_running_loses_only_what_was_in_it(
    tmp_path: Path, warnings: Warnings
) -> None:
    directory = tmp_path / "spool"
    spool = open_spool(directory, warnings)
    write(spool, *[b"x" * 10_000] * 20)
    shutil.rmtree(directory)
    write(spool, *[b"y" * 10_000] * 20)
    got = read_spool(spool)
    assert got.counted_bytes == 400_000
    assert {gap.cause for gap in got.gaps} == {GapCause.CORRUPT}
    assert got.output.endswith(b"y" * 100_000)
    assert len(warnings) == 1
    spool.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs to mount a disk")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_that_is_really_full(full_disk: Path, warnings: Warnings) -> None:
    spool = open_spool(full_disk, warnings, max_bytes=2**30)
    payloads = [os.urandom(9_999) for _ in range(100)]
    write(spool, *payloads)
    assert read_spool(spool).output == b"".join(payloads)
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    spool.close()


def test_a_disk_that_turns_read_only(full_disk: Path, warnings: Warnings) -> None:
    spool = open_spool(full_disk, warnings)
    write(spool, b"x" * 10_000)
    command = ["mount", "-o", "remount,ro", str(full_disk)]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        # A file that is open for writing keeps the kernel from it; the next start meets it so.
        spool.close()
        subprocess.run(command, check=True)
        spool = open_spool(full_disk, warnings, session_id=os.urandom(16))
    write(spool, b"y" * 10_000)
    assert read_spool(spool).output.endswith(b"y" * 10_000)
    assert len(warnings) == 1
    assert "Read-only file system" in warnings[0]
    spool.close()


class Backend:
    """Takes what a reader gives, forgets nothing that it acknowledged, and is cut off anywhere."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self.acked = 0
        # Where the records that it holds end, and how much output was counted up to there.
        self.counted = [(0, 0)]

    @property
    def offset(self) -> int:
        return self.counted[-1][0]

    def take(self, reader: SpoolReader) -> bool:
        batch = reader.read(self.offset)
        for record in records.decode(batch.records):
            end, output_bytes = self.counted[-1]
            if record.kind == Kind.GAP:
                gap = records.read_gap(record.payload)
                self.counted.append((end + gap.span, output_bytes + gap.lost_bytes))
            else:
                self.counted.append((end + record.size, output_bytes + len(record.payload)))
        assert self.offset == batch.next_offset
        return bool(batch.records)

    def acknowledge(self, reader: SpoolReader, now_s: float) -> None:
        self.acked = max(self.acked, self._random.choice(self.counted)[0])
        reader.release(self.acked, now_s)

    def lose(self) -> None:
        """What was under way when the connection was cut never arrived."""
        keep_offset = self._random.choice(self.counted)[0]
        while self.offset > max(keep_offset, self.acked):
            self.counted.pop()


def run_session(spool: Spool, source: random.Random) -> tuple[Backend, int]:
    """Write, read, acknowledge and reconnect in random order; the backend, and what was written."""
    reader = SpoolReader(spool.ledger)
    backend = Backend(source)
    written = 0
    # Outages: long times in which nothing, or nothing but acknowledgements, gets through.
    read_often, ack_often = source.random(), source.random()
    for now_s in range(source.randrange(200)):
        for _ in range(source.randrange(4)):
            size = source.choice([1, 100, 5_000, records.MAX_PAYLOAD_BYTES])
            spool.append(Kind.TTY, now_s, bytes(size))
            written += size
        spool.flush()
        if source.random() < read_often and backend.offset - backend.acked < spool.window_bytes:
            backend.take(reader)
        if source.random() < ack_often:
            backend.acknowledge(reader, float(now_s))
        if source.random() < 0.1:
            backend.lose()
    reader.close()
    return backend, written


@pytest.mark.parametrize("seed", range(60))
def test_what_arrives_and_what_gaps_count_is_what_was_written(
    seed: int, directory: Path | None
) -> None:
    spool = open_spool(directory, Warnings())
    backend, written = run_session(spool, random.Random(seed))
    reader = SpoolReader(spool.ledger)
    while backend.take(reader):
        pass
    assert backend.counted[-1] == (spool.ledger.head.offset, written)
    reader.close()
    spool.close()


@pytest.mark.parametrize("seed", range(60))
def test_a_successor_counts_what_the_dead_one_dropped(seed: int, tmp_path: Path) -> None:
    """Killed after any history, and the backend holds any part of what was sent."""
    spool = open_spool(tmp_path, Warnings())
    source = random.Random(seed)
    backend, written = run_session(spool, source)
    die(spool)
    backend.lose()
    for leftover in claim_all(tmp_path):
        reader = SpoolReader(leftover.ledger)
        while backend.take(reader):
            pass
        assert backend.counted[-1] == (leftover.ledger.head.offset, written)
        reader.close()
        leftover.delete()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(30))
def test_what_a_failed_disk_lost_is_counted(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    spool = open_spool(tmp_path, Warnings())
    disk = FailingDisk(source.randrange(2_000_000), errno.ENOSPC)
    monkeypatch.setattr(os, "write", disk.write)
    monkeypatch.setattr(os, "writev", disk.writev)
    backend, written = run_session(spool, source)
    reader = SpoolReader(spool.ledger)
    while backend.take(reader):
        pass
    assert backend.counted[-1] == (spool.ledger.head.offset, written)
    reader.close()
    spool.close()
