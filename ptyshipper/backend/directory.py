"""The data directory: private, and one backend's at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptyshipper.backend import tokens
from ptyshipper.backend.store import sqlite
from ptyshipper.errors import BackendError

LOCK_NAME = "serve.lock"
_DATABASE_FILES = tuple(sqlite.FILE_NAME + suffix for suffix in ("", "-wal", "-shm"))


@contextmanager
def making_private_files() -> Iterator[None]:
    """Recordings are the owner's alone, SQLite's files too, and whatever the directory's mode."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def prepare(data_dir: Path) -> None:
    """Make DIR where there is none, and private what an earlier version left readable in it."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"can't make the directory {data_dir}: {error.strerror}") from None
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise BackendError(f"can't write to {data_dir}; choose another directory with --data")
    for name in (*_DATABASE_FILES, tokens.FILE_NAME):
        try:
            (data_dir / name).chmod(0o600)
        except OSError:
            pass  # it is not there, or not ours to change


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold DIR for this process alone; the kernel lets go of it however the process ends."""
    path = data_dir / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackendError(f"can't write {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise BackendError(
            f"another 'ptyshipper serve' uses {data_dir}; stop it, or choose another --data"
        ) from None
    try:
        yield
    finally:
        os.close(fd)
