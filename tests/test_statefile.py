"""server.json: found by every command of its owner, readable by nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptyshipper import statefile
from ptyshipper.errors import BackendError
from ptyshipper.statefile import ServerState

STATE = ServerState("http://127.0.0.1:3000", "ingest", "view", 42)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Also over an older file."""
    statefile.write(tmp_path, ServerState("http://old", "a", "b", 1))
    statefile.write(tmp_path, STATE)
    assert statefile.read(tmp_path) == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        statefile.write(tmp_path, STATE)
    finally:
        os.umask(before)
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_backend(tmp_path: Path) -> None:
    """Nor is a directory that is not there."""
    assert statefile.read(tmp_path) is None
    assert statefile.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"url": 1, "ingest_token": 2, "view_token": 3, "pid": 4}', b"\xff"],
)
def test_what_cannot_be_understood_is_told_in_one_line(tmp_path: Path, text: bytes) -> None:
    """With the file's name in it."""
    (tmp_path / "server.json").write_bytes(text)
    with pytest.raises(BackendError) as caught:
        statefile.read(tmp_path)
    assert "server.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_remove_leaves_the_file_of_another_process(tmp_path: Path) -> None:
    """A backend that started meanwhile keeps its own."""
    statefile.write(tmp_path, STATE)
    statefile.remove(tmp_path, 41)
    assert statefile.read(tmp_path) == STATE
    statefile.remove(tmp_path, 42)
    assert statefile.read(tmp_path) is None
    statefile.remove(tmp_path, 42)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PTYSHIPPER_DATA": "/data", "HOME": "/home/u"}, "/data"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/u"}, "/state/ptyshipper"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/u"}, "/home/u/.local/state/ptyshipper"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/ptyshipper"),
        ({}, "/.local/state/ptyshipper"),
    ],
)
def test_default_directory(environ: dict[str, str], expected: str) -> None:
    """PTYSHIPPER_DATA, then the XDG state directory, then the home directory."""
    assert statefile.default_data_dir(environ) == Path(expected)
