"""Users and groups of an unpacked root, by its own /etc/passwd and /etc/group (passwd(5), group(5))."""

from __future__ import annotations

import os
from pathlib import Path

from ptyshipper.errors import UsageError
from ptyshipper.repro.container import Container

_MAX_BYTES = 2**20


def ids(container: Container, root: Path) -> tuple[int, int]:
    """The user and the group that the container runs as, as containerd finds them.

    Raises:
        UsageError: a name stands in neither file.
    """
    user, group = container.user, container.group
    uid, gid = 0 if user is None else user, 0
    for name, number, own_gid in _accounts(root):
        if user is not None and user in (name, number):
            uid, gid = number, own_gid
            break
    if isinstance(uid, str):
        raise UsageError(f"repro: there is no user {uid[:40]!a} in {root / 'etc/passwd'}")
    if group is None:
        return uid, gid
    for name, number in _groups(root):
        if group == name:
            return uid, number
    if isinstance(group, str):
        raise UsageError(f"repro: there is no group {group[:40]!a} in {root / 'etc/group'}")
    return uid, group


def _accounts(root: Path) -> list[tuple[str, int, int]]:
    return [
        (fields[0], int(fields[2][:10]), int(fields[3][:10]))
        for fields in _lines(root / "etc/passwd", 7)
        if fields[2].isdigit() and fields[3].isdigit()
    ]


def _groups(root: Path) -> list[tuple[str, int]]:
    lines = _lines(root / "etc/group", 4)
    return [(fields[0], int(fields[2][:10])) for fields in lines if fields[2].isdigit()]


def _lines(path: Path, fields: int) -> list[list[str]]:
    """No link is followed: it is an image's, and might lead to this host's own file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except OSError:
        return []
    split = (line.split(":") for line in text.splitlines())
    return [line for line in split if len(line) == fields]
