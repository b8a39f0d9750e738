"""Session folders and their locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptyshipper.errors import SpoolError
from ptyshipper.spool.directory import SessionFolder

ID = bytes(range(16))


def test_a_folder_is_its_creators_until_closed(tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {"a": 1})
    assert Path(folder.path) == tmp_path / ID.hex()
    assert SessionFolder.claim(folder.path) is None
    folder.close()
    claimed = SessionFolder.claim(folder.path)
    assert claimed is not None
    assert claimed.description() == {"a": 1}
    claimed.close()


def test_a_folder_is_freed_by_the_death_of_its_owner(tmp_path: Path) -> None:
    """The kernel does it: no pid in a file that may belong to another by now."""
    pid = os.fork()
    if pid == 0:
        SessionFolder.create(str(tmp_path), ID, {})
        os._exit(0)
    os.waitpid(pid, 0)
    claimed = SessionFolder.claim(str(tmp_path / ID.hex()))
    assert claimed is not None
    claimed.close()


def test_a_session_that_is_there_already_is_not_taken_over(tmp_path: Path) -> None:
    first = SessionFolder.create(str(tmp_path), ID, {"first": True})
    with pytest.raises(OSError, match="not empty"):
        SessionFolder.create(str(tmp_path), ID, {"first": False})
    assert first.description() == {"first": True}
    assert [path.name for path in tmp_path.iterdir()] == [ID.hex()]
    first.close()


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff", b"[" * 10_000, b'{"a":"' + b"x" * 16_384 + b'"}']
)
def test_a_description_that_is_none_is_refused(text: bytes, tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {})
    Path(folder.path, "session.json").write_bytes(text)
    with pytest.raises(SpoolError):
        folder.description()
    folder.close()


def test_the_backend_stands_beside_the_description(tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {"a": 1})
    assert folder.endpoint() is None
    folder.address("http://a:80/p")
    assert folder.endpoint() == "http://a:80/p"
    assert folder.description() == {"a": 1}
    folder.close()


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {})
    assert not os.get_inheritable(folder._lock_fd)
    folder.close()
