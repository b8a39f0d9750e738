"""Session folders and their locks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ptyshipper.errors import SpoolError
from ptyshipper.spool.directory import SessionFolder
from tests.spool.spools import own

ID = bytes(range(16))


def test_a_folder_is_its_creators_until_closed(tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {"a": 1})
    assert Path(folder.path) == own(tmp_path) / ID.hex()
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
    claimed = SessionFolder.claim(str(own(tmp_path) / ID.hex()))
    assert claimed is not None
    claimed.close()


def test_a_session_that_is_there_already_is_not_taken_over(tmp_path: Path) -> None:
    first = SessionFolder.create(str(tmp_path), ID, {"first": True})
    with pytest.raises(OSError, match="not empty"):
        SessionFolder.create(str(tmp_path), ID, {"first": False})
    assert first.description() == {"first": True}
    assert [path.name for path in own(tmp_path).iterdir()] == [ID.hex()]
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


def test_a_directory_of_anybodys_will_do(tmp_path: Path) -> None:
    """As a volume of Kubernetes is: root's, and open to all."""
    tmp_path.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    folder = SessionFolder.create(str(tmp_path), ID, {})
    assert own(tmp_path).stat().st_mode & 0o7777 == 0o700
    assert own(tmp_path).stat().st_uid == os.geteuid()
    folder.close()


def harm_by_group(path: Path) -> None:
    path.chmod(0o770)


def harm_by_all(path: Path) -> None:
    path.chmod(0o702)


def harm_by_owner(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to give a directory away")
    os.chown(path, 12345, 12345)


def harm_by_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


HARMS = [harm_by_group, harm_by_all, harm_by_owner, harm_by_symlink]


@pytest.mark.parametrize("harm", HARMS)
def test_a_directory_in_which_others_have_a_hand_is_not_used(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    SessionFolder.create(str(tmp_path), ID, {}).close()
    harm(own(tmp_path))
    with pytest.raises(OSError, match=r"in it|Not a directory"):
        SessionFolder.create(str(tmp_path), bytes(16), {})


@pytest.mark.parametrize("harm", HARMS)
def test_a_session_in_which_others_have_a_hand_is_not_claimed(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {})
    folder.close()
    harm(Path(folder.path))
    with pytest.raises(OSError, match=r"in it|Not a directory"):
        SessionFolder.claim(folder.path)


def test_the_last_session_takes_the_directory_with_it_and_the_next_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that happens while the next one is at it."""
    first = SessionFolder.create(str(tmp_path), ID, {})
    original = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        if path.endswith(bytes(16).hex()):
            first.delete()
        original(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    second = SessionFolder.create(str(tmp_path), bytes(16), {})
    assert [path.name for path in own(tmp_path).iterdir()] == [bytes(16).hex()]
    second.delete()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    folder = SessionFolder.create(str(tmp_path), ID, {})
    assert not os.get_inheritable(folder._lock_fd)
    folder.close()
