"""The Dockerfile's backend, shut in as the manifest has it: takes sessions, has its page, and drains."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from websockets.exceptions import ConnectionClosed

from integration.pod.images import BACKEND_IMAGE, REPOSITORY, Archive, built_image
from integration.pod.podman import Podman
from ptyshipper import __version__, statefile
from ptyshipper.wire.closing import CloseCode
from tests.support.patience import until
from tests.support.server import Server, Shipper, output, start_record
from tests.support.stored import only_session
from tests.support.wrapping import LOG_SHIPPER, run, shipping_environ

pytestmark = pytest.mark.pod

DEPLOYMENT_ID = 7
SHUT_IN = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=host")
"""As the manifest's container is; its network is the host's, for the tests alone."""


@pytest.fixture(scope="module")
def backend(can_build: None, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    directory = tmp_path_factory.mktemp("backend-image")
    return built_image(directory / "image.tar", image=BACKEND_IMAGE)


@pytest.fixture(scope="module")
def podman(backend: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    running = Podman(tmp_path_factory.mktemp("backend-podman"))
    running.load(backend)
    yield running
    running.close()


class Container(Server):
    """A backend in a container with a volume of its own; ``start`` and ``stop`` as those of a process."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman, self._name = podman, name
        podman.run("volume", "create", name)
        # Made like the image's own directory by the first container that mounts it.
        super().__init__(Path(podman.run("volume", "inspect", "--format={{.Mountpoint}}", name)))

    def command(self, *arguments: str) -> str:
        """What a container that runs this command prints."""
        return self._podman.run(*self._run(), "--rm", BACKEND_IMAGE, *arguments)

    def _run(self) -> list[str]:
        environ = (f"--env=PTYSHIPPER_{each}" for each in ("PORT=0", "LOG_FORMAT=json"))
        return ["run", *SHUT_IN, f"--volume={self._name}:/data", *environ]

    def start(self, *, preamble: str = "") -> None:
        assert not preamble
        (self.data_dir / statefile.FILE_NAME).unlink(missing_ok=True)
        self._podman.run(*self._run(), "--detach", f"--name={self._name}", BACKEND_IMAGE)

        def has_started() -> bool:
            assert self._podman.inspect(self._name)["State"]["Running"], self.said()
            return statefile.read(self.data_dir) is not None

        until(has_started, "the backend listens")
        state = statefile.read(self.data_dir)
        assert state is not None
        self.state = state

    def stop(self) -> int:
        """As a kubelet does; the exit status."""
        self._podman.run("stop", "--time=30", self._name)
        return self._podman.wait(self._name)

    def remove(self) -> None:
        self._podman.run("rm", "--force", "--time=0", "--ignore", self._name)

    def said(self) -> str:
        return self._podman.logs(self._name).stderr.decode()


@pytest.fixture
def container(podman: Podman, request: pytest.FixtureRequest) -> Iterator[Container]:
    made = Container(podman, re.sub(r"\W", "-", request.node.name))
    yield made
    made.remove()


def fetch(server: Server, path: str) -> tuple[int, str]:
    """Status and text of a GET by nobody."""
    address = urlsplit(server.state.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def close_code(shipper: Shipper) -> int:
    """The backend's; what came in before is acknowledged first."""

    def expect_more() -> None:
        while True:
            shipper.expect()

    with pytest.raises(ConnectionClosed) as closed:
        expect_more()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_what_the_image_says_of_itself(backend: Archive) -> None:
    """Nobody's user, a volume for what it keeps, and nothing of the build's machine."""
    config = backend.config["config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["ptyshipper"], ["serve"])
    assert (list(config["Volumes"]), list(config["ExposedPorts"])) == (["/data"], ["7410/tcp"])
    names = {entry.partition("=")[0] for entry in config["Env"]}
    # The base image may have variables of its own.
    assert {name for name in names if name.startswith("PTYSHIPPER_")} == {
        "PTYSHIPPER_DATA",
        "PTYSHIPPER_HOST",
    }
    assert not {name.lower() for name in names} & {"http_proxy", "https_proxy", "pip_index_url"}
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.title"] == "ptyshipper-backend"


def test_the_manifest_s_container_is_this_image(backend: Archive) -> None:
    """Its data is where the image has a place for them, its user is the image's."""
    manifest = REPOSITORY / "integration" / "deploy" / "kubernetes.yaml"
    objects = {each["kind"]: each for each in yaml.safe_load_all(manifest.read_text())}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert f"localhost/{container['image']}:latest" == BACKEND_IMAGE
    config = backend.config["config"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == list(config["Volumes"])
    user = pod["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == config["User"]


def test_it_does_not_listen_for_others_without_a_token(container: Container) -> None:
    with pytest.raises(AssertionError, match="ptyshipper token create"):
        container.command("serve")


def test_a_session_comes_in_and_is_there_after_a_restart(
    container: Container, tmp_path: Path
) -> None:
    secret = container.command("token", "create", f"--deployment={DEPLOYMENT_ID}")
    assert secret.startswith("psi_")
    container.start()
    assert fetch(container, "/readyz")[0] == 200
    status, page = fetch(container, "/")
    assert status == 200
    (script,) = re.findall(r'src="(/assets/[^"]+\.js)"', page)
    assert fetch(container, script)[0] == 200
    environ = shipping_environ(container, tmp_path, token=secret)
    done = run([*LOG_SHIPPER, "echo", "from a wrapper"], environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"from a wrapper\n", b"")
    assert only_session(container, DEPLOYMENT_ID).streams[1] == b"from a wrapper\n"

    shipper = Shipper(container, os.urandom(16))
    shipper.ship(start_record() + output(b"before\n"))
    shipper.send(output(b"and while it ends\n"))
    assert container.stop() == 0
    assert close_code(shipper) == CloseCode.RESTARTING
    said = container.said()
    assert all(word in said for word in ('"listening"', '"draining"', '"stopped"')), said
    assert secret not in said

    container.remove()
    container.start()
    (first, second) = container.get("/api/sessions")[1]["sessions"][::-1]
    assert first["command"] == ["echo", "from a wrapper"]
    assert first["exit_code"] == 0
    assert bytes.fromhex(second["id"]) == shipper.session_id
    assert b"before\n" in container.records(shipper.session_id)
