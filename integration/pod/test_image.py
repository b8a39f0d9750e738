"""What the Dockerfile makes: small, only what is meant to be there, and usable by anybody."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from integration.pod.images import REPOSITORY, Archive
from ptyshipper import __version__
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.server import Server
from tests.support.stored import fresh_deployment_id, only_session
from tests.support.tls_front import make_authority, tls_front
from tests.support.wrapping import run, shipping_environ

pytestmark = pytest.mark.pod

MAX_COMPRESSED_BYTES = 10_000_000
MAX_TREE_BYTES = 22_000_000


def test_the_image_runs_as_nobody_and_installs_by_default(image: Archive) -> None:
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/install-log-shipper"]
    assert not config.get("Cmd")
    assert not config.get("ExposedPorts")


def test_its_labels_say_what_it_is(image: Archive) -> None:
    """Under the names that OCI's annotations have, with the package's own version."""
    labels = image.config["config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[prefix + "title"] == "ptyshipper"
    assert labels[prefix + "version"] == __version__
    assert labels[prefix + "licenses"] == "MIT"
    assert labels[prefix + "description"]


def test_nothing_of_the_build_s_machine_is_in_its_environment(image: Archive) -> None:
    """Neither a proxy nor a package index."""
    names = {entry.partition("=")[0] for entry in image.config["config"].get("Env", [])}
    assert names <= {"PATH"}


def test_it_holds_the_program_and_nothing_else(root: Path) -> None:
    assert sorted(os.listdir(root)) == [".log-shipper", "install-log-shipper", "log-shipper"]
    (tree,) = os.listdir(root / ".log-shipper")
    assert tree.startswith(f"{__version__}-")


@pytest.mark.parametrize("name", ["log-shipper", "install-log-shipper"])
def test_what_it_starts_with_is_static(root: Path, name: str) -> None:
    """No loader is asked for, so none has to be in the user's image."""
    command = ["readelf", "--program-headers", "--wide", str(root / name)]
    headers = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "LOAD" in headers
    assert "INTERP" not in headers


def test_every_user_can_read_it_and_nobody_can_change_it(root: Path) -> None:
    """As an image volume it is run by the user of any container, and belongs to root."""
    for path in [root / name for name in os.listdir(root)] + list(
        (root / ".log-shipper").rglob("*")
    ):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (0, 0), path
        if stat.S_ISLNK(found.st_mode):
            continue
        assert found.st_mode & 0o7022 == 0, path
        wanted = 0o555 if path.is_dir() or found.st_mode & 0o100 else 0o444
        assert found.st_mode & wanted == wanted, path


def test_links_stay_inside(root: Path) -> None:
    """A link that leads out would lead into the user's image."""
    for path in root.rglob("*"):
        if path.is_symlink():
            assert not os.path.isabs(os.readlink(path)), path
            assert path.resolve().is_relative_to(root.resolve()), path


def test_it_is_small(image: Archive, root: Path) -> None:
    """What a node downloads, and what an installation takes of a volume."""
    assert image.compressed_bytes <= MAX_COMPRESSED_BYTES
    files = (path.lstat() for path in (root / ".log-shipper").rglob("*"))
    assert sum(found.st_size for found in files) <= MAX_TREE_BYTES


def test_over_tls_with_a_private_authority(root: Path, server: Server, tmp_path: Path) -> None:
    """Its Python and its OpenSSL are others than those of this machine, and stricter."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    authority = make_authority(tmp_path)
    port = urlsplit(server.state.url).port
    assert port is not None
    deployment_id = fresh_deployment_id()
    with tls_front(tmp_path / "server.pem", port) as listening:
        environ = shipping_environ(
            server, tmp_path, deployment_id=str(deployment_id), ca_file=str(authority),
            endpoint=f"wss://localhost:{listening}{INGEST_PATH}",
        )  # fmt: skip
        done = run([str(root / "log-shipper"), "echo", "over TLS"], environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"over TLS\n", b"")
    assert only_session(server, deployment_id).streams[1] == b"over TLS\n"


def test_only_what_the_build_needs_is_sent_to_it() -> None:
    """A change of any other file must not repeat the build."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(
        r"^COPY (?!--from)(\S+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE
    )
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
