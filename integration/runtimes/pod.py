"""A container as AnvilOps' pod has it, bare or wrapped, and what of it the backend holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from integration.runtimes.container import Container, Runtime, Spec, container
from integration.runtimes.images import Image
from ptyshipper.variables import PRIVATE_PREFIX
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.bundle import lay_out
from tests.support.patience import until
from tests.support.server import Server
from tests.support.stored import Stored, fresh_deployment_id, sessions_of

VOLUME = "/_private_anvilops_log_shipper"
LOG_SHIPPER = f"{VOLUME}/log-shipper"
ENVIRON = ("PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm-256color", "HOME=/")
_NONE: Mapping[str, str] = {}
_HOSTS = "127.0.0.1\tlocalhost\n127.0.0.1\tbackend.svc\n"


class Pod:
    """One pod: a volume with the wrapper in it, a deployment of its own, and containers one by one.

    Args:
        installed: a directory into which the bundle was installed; it is not changed.
        directory: where its files may be; they are laid out in it.
    """

    def __init__(self, runtime: Runtime, server: Server, installed: Path, directory: Path) -> None:
        self.runtime = runtime
        self.server = server
        self.deployment_id = fresh_deployment_id()
        self.directory = directory
        self.volume = lay_out(installed, directory / "volume")
        self.volume.chmod(0o777)  # as an emptyDir is
        (directory / "hosts").write_text(_HOSTS)
        (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1\n")
        self._roots = 0

    def root(self, image: Image | Path = Image.EMPTY) -> Path:
        """A root of its own of an image, or of a root that was made before."""
        self._roots += 1
        root = self.directory / f"root{self._roots}"
        return image.unpack(root) if isinstance(image, Image) else lay_out(image, root)

    def settings(self, **settings: str) -> list[str]:
        """The private variables of a container whose logs go to the backend; by their short names."""
        values = {
            "ENDPOINT": self.server.state.url + INGEST_PATH,
            "TOKEN": self.server.state.ingest_token,
            "TYPE": "runtime",
            "DEPLOYMENT_ID": str(self.deployment_id),
        } | {name.upper(): value for name, value in settings.items()}
        return [f"{PRIVATE_PREFIX}_LOG_{name}={value}" for name, value in values.items()]

    def spec(self, *argv: str, is_image_volume: bool = False, **fields: Any) -> Spec:
        """What kubelet would have the runtime run, in an empty root unless another is given.

        The volume is an emptyDir, or an image volume, which is read-only.
        """
        shared = {VOLUME: self.volume}
        own = {f"/etc/{name}": self.directory / name for name in ("hosts", "resolv.conf")}
        fields = {"root": fields.get("root") or self.root(), "environ": ENVIRON} | fields
        return Spec(
            argv=argv,
            mounts=own if is_image_volume else own | shared,
            read_only_mounts=shared if is_image_volume else {},
            **fields,
        )

    def bare(self, *argv: str, **fields: Any) -> AbstractContextManager[Container]:
        return container(self.runtime, self.spec(*argv, **fields))

    def wrapped(
        self, *argv: str, start: bool = True, settings: Mapping[str, str] = _NONE, **fields: Any
    ) -> AbstractContextManager[Container]:
        """A wrapped container, created and, unless that is to wait, started."""
        spec = self.spec(LOG_SHIPPER, *argv, **fields)
        spec = changed(spec, environ=[*spec.environ, *self.settings(**settings)])
        return container(self.runtime, spec, start=start)

    def stored(self, count: int = 1) -> list[Stored]:
        """What the backend holds of its sessions, oldest first, once there are so many."""

        def enough() -> bool:
            return len(sessions_of(self.server, self.deployment_id)) >= count

        until(enough, f"{count} sessions are stored")
        found = sessions_of(self.server, self.deployment_id)
        assert len(found) == count
        return [Stored(self.server, session) for session in found]

    def check_stored(self, ended: Container, status: int) -> Stored:
        """Its one session is complete: all that came out, byte for byte, and how it ended."""
        (stored,) = self.stored()
        check_exit(stored, status)
        assert stored.gaps == []
        expected = {0: ended.out} if ended.spec.tty else {1: ended.out, 2: ended.err}
        assert stored.streams == {0: b"", 1: b"", 2: b""} | expected
        assert stored.summary["hostname"] == ended.spec.hostname
        return stored

    def left_in_volume(self) -> list[str]:
        """What is in the volume beside the installed program."""
        return sorted(
            path.name
            for path in self.volume.iterdir()
            if path.name not in ("log-shipper", ".log-shipper")
        )  # fmt: skip


def check_exit(stored: Stored, status: int) -> None:
    """The exit record says what a shell would: a code, or 128 and a signal."""
    summary = stored.summary
    assert summary["state"] == "exited"
    code = summary["exit_code"]
    assert status == (128 + summary["exit_signal"] if code is None else code)


def files(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything in a tree, and what would tell that it was touched."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        found[str(path)] = (
            status.st_mode, status.st_uid, status.st_ino, status.st_size, status.st_mtime_ns
        )  # fmt: skip
    return found


@contextmanager
def removing(directory: Path) -> Iterator[Path]:
    """Roots are many and large: they go with their test, not with pytest's third run from here."""
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
