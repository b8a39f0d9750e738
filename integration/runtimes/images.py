"""Images to run containers from, as plain directories: no registry, no engine.

Each has ``/probe``, the static program that tests run, and a program of its own kind, which needs what
is in the image (``own_program``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from enum import Enum
from pathlib import Path

from tests.support.bundle import lay_out
from tests.support.static import built

MUSL_LOADER = next(Path("/lib").glob("ld-musl-*.so.1"), None)
_APPLETS = ("sh", "cat", "echo", "env", "id", "kill", "ls", "sleep", "stty", "true")
_NOT_NEEDED = ("doc", "i18n", "info", "locale", "man")
_PACKAGES = "base-files,coreutils,dash,libc-bin,libc6,netbase"


class Image(Enum):
    """What a user's image is built from."""

    EMPTY = "empty"
    BUSYBOX = "busybox"
    ALPINE = "alpine"
    BULLSEYE = "bullseye"

    @property
    def own_program(self) -> list[str]:
        """Says "of the image" and ends with 23; a shell where there is one."""
        if self is Image.EMPTY:
            return ["/probe", "say", "of the image", "exit", "23"]
        if self is Image.ALPINE:
            return ["/usr/bin/dynamic", "say", "of the image", "exit", "23"]
        return ["/bin/sh", "-c", "echo of the image; exit 23"]

    @property
    def lacks(self) -> str | None:
        """What would have to be installed to make it; None where all is there."""
        if self in (Image.BUSYBOX, Image.ALPINE) and shutil.which("busybox") is None:
            return "busybox"
        if self is Image.ALPINE and (MUSL_LOADER is None or shutil.which("musl-gcc") is None):
            return "musl-gcc"
        if self is Image.BULLSEYE and not _bullseye_path().exists():
            return None if shutil.which("mmdebstrap") else "mmdebstrap"
        return None

    def unpack(self, root: Path) -> Path:
        """A root directory of one's own; its files may be replaced, but not written to in place.

        Raises:
            subprocess.CalledProcessError: no mirror of Debian could be reached.
        """
        if self is Image.BULLSEYE:
            lay_out(_bullseye(), root)
        else:
            root.mkdir()
        if self in (Image.BUSYBOX, Image.ALPINE):
            _put(root, "bin/busybox", Path(shutil.which("busybox") or ""))
            for name in _APPLETS:
                (root / "bin" / name).symlink_to("busybox")
            for name in ("etc", "tmp", "root"):
                (root / name).mkdir()
            (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        if self is Image.ALPINE:
            assert MUSL_LOADER is not None
            _put(root, str(MUSL_LOADER)[1:], MUSL_LOADER.resolve())
            _put(root, "usr/bin/dynamic", built("probe", linking="-pie"))
        _put(root, "probe", built("probe"))
        _put(root, "enter", built("enter"))
        return root


def _put(root: Path, name: str, source: Path) -> None:
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def replace(root: Path, name: str, content: str | bytes) -> None:
    """Give an image a file, in place of the one that it may have."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _bullseye_path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache, "ptyshipper-tests", "bullseye")


def _bullseye() -> Path:
    """Debian 11 with glibc 2.31 and a shell; made once a machine, in about 5 s."""
    path = _bullseye_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            unfinished = Path(directory, "root")
            command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}"]
            command += ["bullseye", str(unfinished), *_debian_mirror()]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=600)
            for name in _NOT_NEEDED:
                shutil.rmtree(unfinished / "usr/share" / name, ignore_errors=True)
            shutil.rmtree(unfinished / "dev")
            unfinished.chmod(0o755)
            unfinished.rename(path)
    return path


def _debian_mirror() -> list[str]:
    """Where this machine gets its Debian packages from; none where it is no Debian."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    words = (line.split() for line in listed.stdout.splitlines())
    return [word[2] for word in words if word[:2] == ["Debian", "Debian"]][:1]
