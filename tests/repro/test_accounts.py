"""Users and groups of an unpacked root."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.accounts import ids
from ptyshipper.repro.container import Container

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:2000::/app:\nbroken:x:x:y::/:\n# no line\n"
GROUP = "root:x:0:\nwww:x:33:app\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "group", "found"),
    [
        (None, None, (0, 0)),
        ("app", None, (1000, 2000)),
        (1000, None, (1000, 2000)),
        (1000, 0, (1000, 0)),
        (4711, None, (4711, 0)),
        ("app", "www", (1000, 33)),
        (None, "www", (0, 33)),
        (1, 2, (1, 2)),
    ],
)
def test_as_containerd_finds_them(
    root: Path, user: int | str | None, group: int | str | None, found: tuple[int, int]
) -> None:
    assert ids(Container("c", user=user, group=group), root) == found


@pytest.mark.parametrize(("user", "group"), [("nobody", None), ("broken", None), ("app", "none")])
def test_a_name_that_is_not_there(root: Path, user: str, group: str | None) -> None:
    with pytest.raises(UsageError, match=r"^repro: there is no (user|group) "):
        ids(Container("c", user=user, group=group), root)


def test_a_link_out_of_the_root_is_not_followed(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="there is no user 'daemon'"):
        ids(Container("c", user="daemon"), root)
