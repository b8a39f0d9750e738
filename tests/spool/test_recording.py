"""The file that a session is recorded to: whose it is, and what a failing disk does to it."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.records import HEADER_BYTES, Kind, decode, encode
from ptyshipper.spool.recording import Recording
from ptyshipper.wire import recording
from tests.support.server import REPOSITORY, describe

ID = bytes(range(16))


def no_warning(message: str) -> None:
    raise AssertionError(message)


def test_it_holds_the_header_and_the_records(tmp_path: Path) -> None:
    """Readable after each flush, and by its owner alone, whatever the umask."""
    path = tmp_path / "a.rec"
    before = os.umask(0o777)
    try:
        made = Recording.create(str(path), overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made.begin(ID, describe(), {"cwd": "/"}, no_warning)
    made.append(Kind.STDOUT, 5, b"one")
    head = recording.read_header(path.read_bytes())
    assert path.stat().st_size == head.size_bytes
    made.append(Kind.STDERR, 6, b"two")
    made.flush()
    expected = encode(Kind.STDOUT, 5, b"one") + encode(Kind.STDERR, 6, b"two")
    assert path.read_bytes()[head.size_bytes :] == expected
    made.close()
    assert path.read_bytes()[head.size_bytes :] == expected


def test_what_is_there_stays_unless_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="--force"):
        Recording.create(str(path), overwrite=False)
    assert path.read_bytes() == b"precious"
    made = Recording.create(str(path), overwrite=True)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"", 0o600)
    with pytest.raises(UsageError, match="another session"):
        Recording.create(str(path), overwrite=True)
    made.close()


@pytest.mark.parametrize("name", ["missing/a.rec", ".", "pipe", "/dev/null"])
def test_where_none_can_be_it_says_so(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="can't record to"):
        Recording.create(str(tmp_path / name), overwrite=True)


def test_a_disk_that_is_full_is_one_warning(tmp_path: Path) -> None:
    """What stands there then are whole records. In a process of its own, whose files may not grow."""
    path = tmp_path / "a.rec"
    program = (
        "import sys; from ptyshipper.spool.recording import Recording\n"
        "from tests.support.server import describe\n"
        "made = Recording.create(sys.argv[1], overwrite=False)\n"
        "made.begin(bytes(16), describe(), {}, print)\n"
        "for n in range(40): made.append(2, n, b'x' * 1000); made.flush()\n"
        "made.close(); print(made.is_whole)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.stdout == (
        f"the recording {path} ends here: File too large; the program is not affected\nFalse\n"
    ), done.stderr
    data = path.read_bytes()
    records = list(decode(data[recording.read_header(data).size_bytes :]))
    assert [record.time_us for record in records] == list(range(len(records)))
    assert 10_000 - 1_000 - HEADER_BYTES < len(data) <= 10_000
