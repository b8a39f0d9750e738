"""The tree as an archive behind the installer. What the installer makes of it: ``test_archive.py``."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from ptyshipper.bundle import pack


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "lib" / "empty").mkdir(parents=True)
    (tree / "lib" / "data").write_bytes(b"data")
    (tree / "app").write_bytes(b"program")
    (tree / "app").chmod(0o700)
    (tree / "lib" / "data").chmod(0o600)
    return tree


def listed(archive: bytes) -> list[tuple[str, int, bytes | None]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [
            (entry.name, entry.mode, file.read() if (file := tar.extractfile(entry)) else None)
            for entry in tar
        ]


def test_it_holds_files_and_directories_that_everybody_may_read(tree: Path) -> None:
    """A directory before what is in it."""
    assert listed(pack.archive(tree)) == [
        ("app", 0o755, b"program"),
        ("lib", 0o755, None),
        ("lib/data", 0o644, b"data"),
        ("lib/empty", 0o755, None),
    ]


def test_the_same_tree_gives_the_same_bytes(tree: Path) -> None:
    """Whoever packs it, and when."""
    first = pack.archive(tree)
    os.utime(tree / "app", (1, 1))
    (tree / "app").chmod(0o777)
    if os.geteuid() == 0:
        os.chown(tree / "app", 1, 1)
    assert pack.archive(tree) == first
    assert pack.compress(first) == pack.compress(first)


def test_a_link_to_a_file_becomes_the_file(tree: Path) -> None:
    (tree / "link").symlink_to("app")
    assert ("link", 0o755, b"program") in listed(pack.archive(tree))


@pytest.mark.parametrize("odd", ["fifo", "directory link", "dangling link", "long name"])
def test_what_the_installer_would_refuse_is_refused(tree: Path, odd: str) -> None:
    if odd == "fifo":
        os.mkfifo(tree / "odd")
    elif odd == "directory link":
        (tree / "odd").symlink_to("lib")
    elif odd == "dangling link":
        (tree / "odd").symlink_to("nowhere")
    else:
        (tree / ("odd" * 50)).touch()
    with pytest.raises(pack.PackError, match="odd"):
        pack.archive(tree)


def test_what_is_compressed_is_one_frame_with_a_checksum() -> None:
    data = os.urandom(1_000) * 3
    frame = pack.compress(data)
    assert subprocess.run(["zstd", "-dc"], input=frame, capture_output=True).stdout == data
    spoilt = frame[:-1] + bytes([frame[-1] ^ 1])
    assert subprocess.run(["zstd", "-dc"], input=spoilt, capture_output=True).returncode != 0


def test_the_trailer_tells_the_length_of_the_frame() -> None:
    assert pack.append(b"ELF", b"frame") == b"ELFframe\5\0\0\0\0\0\0\0ptyshipper tree\n"


def test_a_missing_zstd_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pack.MissingError, match="apt-get install zstd"):
        pack.compress(b"")


def test_a_zstd_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zstd").write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    (tmp_path / "zstd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pack.PackError, match="out of luck"):
        pack.compress(b"")
