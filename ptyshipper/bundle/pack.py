"""Pack a tree behind the installer, so that one file holds the whole program.

::

    ELF | one zstd frame with a checksum, of a ustar archive | trailer

The trailer is the frame's length in bytes, 8 bytes with the least significant first, and
``TRAILER_NAME``. ``archive.c`` is the other side. The same tree gives the same bytes: owners and times
are left out and names are sorted.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

TRAILER_NAME = b"ptyshipper tree\n"
LENGTH_BYTES = 8
MAX_WINDOW_LOG = 23
"""The installer's decoder takes 2 to the power of this many bytes at most: 8 MiB."""


class PackError(Exception):
    """The tree can't be packed; ``str()`` says why."""


class MissingError(PackError):
    """The zstd program is not installed; ``str()`` says which package has it."""


def append(installer: bytes, frame: bytes) -> bytes:
    """The installer with what ``compress`` made behind it."""
    return installer + frame + len(frame).to_bytes(LENGTH_BYTES, "little") + TRAILER_NAME


def archive(tree: Path) -> bytes:
    """The tree as a ustar archive. Links are followed: the installer makes none.

    Raises:
        PackError: it holds something else, or a name that ustar can't take.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(tree)))
            if path.is_dir():
                if path.is_symlink():
                    raise PackError(f"{path} is a link to a directory")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            elif path.is_file():
                content = path.read_bytes()
                entry.size = len(content)
                entry.mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
                try:
                    tar.addfile(entry, io.BytesIO(content))
                except ValueError as error:
                    raise PackError(f"{path}: {error}") from None
            else:
                raise PackError(f"{path} is neither a file nor a directory")
    return stream.getvalue()


def compress(data: bytes) -> bytes:
    """One zstd frame with a checksum.

    Raises:
        MissingError: the zstd program is not installed.
        PackError: it fails.
    """
    command = ["zstd", "--ultra", "-22", f"--zstd=wlog={MAX_WINDOW_LOG}", "--check", "-q", "-c"]
    try:
        run = subprocess.run(command, input=data, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingError("zstd is missing; on Debian: apt-get install zstd") from None
    if run.returncode:
        raise PackError(f"zstd: {run.stderr.decode(errors='replace').strip()}")
    return run.stdout
