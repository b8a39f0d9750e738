"""The AnvilOps pod as its users have it: what the apps print, how they end, and what the backend gets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.pod.images import IMAGE
from integration.pod.podman import MOUNT, PROGRAM_IMAGE, Podman, manifest, playing
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.patience import until
from tests.support.server import Server, running_server
from tests.support.stored import Stored, fresh_deployment_id, sessions_of
from tests.support.terminal import Terminal

pytestmark = pytest.mark.pod

MEBIBYTE = 2**20

LOOK_AROUND = """
for fd in 0 1 2; do test -t $fd && echo "$fd is a terminal"; done
echo "$0 $*"; id; pwd; umask; ulimit -n
env | grep -v _PRIVATE_ANVILOPS | sort
grep -E '^(Groups|NoNewPrivs|Seccomp|(Cap|Sig)[A-Z][a-z]+):' /proc/self/status
echo "and this is an error" >&2
exit 7
"""
"""Tells everything that should be as it is without the wrapper."""

WAIT_FOR_SIGNALS = """
trap 'echo "last words $(cat /proc/sys/kernel/random/uuid)"' USR1
trap 'echo "asked to end"; exit 5' TERM
echo "ready $(cat /proc/sys/kernel/random/uuid)"
sleep 100000 &
while :; do wait $!; done
"""
"""No two runs print the same, so that sessions are told apart by what they hold."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A backend that the test may kill."""
    with running_server(tmp_path) as running:
        yield running


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script.strip(), "a name", "an argument"]


def outputs(server: Server, deployment_id: int) -> dict[bytes, Stored]:
    """The deployment's sessions by all that they hold."""
    stored = [Stored(server, session) for session in sessions_of(server, deployment_id)]
    return {b"".join(session.streams.values()): session for session in stored}


def test_apps_cannot_tell_that_they_are_wrapped(podman: Podman, server: Server) -> None:
    """The same pod with and without the wrapper: the same output, status and surroundings."""
    seen = []
    for wrapped in (False, True):
        text = manifest(
            server,
            fresh_deployment_id(),
            terminal=shell(LOOK_AROUND),
            pipes=shell(LOOK_AROUND),
            uids=(0, 1000),
            wrapped=wrapped,
        )
        with playing(podman, text) as pod:
            statuses = [pod.wait(name) for name in ("terminal", "pipes")]
            seen.append((statuses, [pod.logs(name) for name in ("terminal", "pipes")]))
    bare, wrapped_pod = seen
    assert bare[0] == [7, 7]
    assert b"2 is a terminal" in bare[1][0].stdout
    assert b"terminal" not in bare[1][1].stdout
    assert wrapped_pod == bare


def test_all_of_it_is_shipped(podman: Podman, server: Server) -> None:
    """Each container is a session, with its output by stream, its status and the pod's name."""
    deployment_id = fresh_deployment_id()
    script = shell("echo out; echo error >&2; exit 7")
    with playing(podman, manifest(server, deployment_id, terminal=script, pipes=script)) as pod:
        assert [pod.wait(name) for name in ("terminal", "pipes")] == [7, 7]
        shown = {name: pod.logs(name) for name in ("terminal", "pipes")}
    found = {
        session["tty"]: Stored(server, session) for session in sessions_of(server, deployment_id)
    }
    assert found[True].streams == {0: shown["terminal"].stdout, 1: b"", 2: b""}
    assert found[False].streams == {0: b"", 1: shown["pipes"].stdout, 2: shown["pipes"].stderr}
    for stored in found.values():
        assert not stored.gaps
        summary = stored.session
        assert (summary["state"], summary["exit_code"]) == ("exited", 7)
        assert (summary["hostname"], summary["type"]) == ("web-0", "runtime")
        assert summary["command"] == script


def test_installing_works_within_the_limits_and_for_every_user(
    podman: Podman, server: Server
) -> None:
    """By 65532 without capabilities, with a tenth of a CPU and 50 MiB: readable and for nobody else
    to change."""
    text = manifest(server, fresh_deployment_id(), terminal=["true"], pipes=["true"])
    with playing(podman, text) as pod:
        found = pod.inspect("log-shipper")
        logs = pod.logs("log-shipper")
        host = found["HostConfig"]
        # Taken at their word by podman, or the rest of this test would show nothing.
        assert (host["Memory"], host["NanoCpus"]) == (50 * MEBIBYTE, 100_000_000)
        assert host["ReadonlyRootfs"]
        assert not found["EffectiveCaps"]
        assert found["Config"]["User"] == "65532:65532"
        assert found["State"]["ExitCode"] == 0
        assert not logs.stderr
        volume = pod.volume
        for path in [volume / "log-shipper", *(volume / ".log-shipper").rglob("*")]:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            wanted = 0o555 if path.is_dir() or mode & 0o100 else 0o444
            assert mode & wanted == wanted, path
            assert mode & 0o7022 == 0, path


def test_installing_again_disturbs_nobody(podman: Podman, server: Server) -> None:
    """As when a node was started anew: into a volume from which containers run."""
    deployment_id = fresh_deployment_id()
    app = shell(WAIT_FOR_SIGNALS)
    with playing(podman, manifest(server, deployment_id, terminal=app, pipes=app)) as pod:
        for name in ("terminal", "pipes"):
            pod.expect(name, b"ready")
        pod.start("log-shipper")
        assert pod.wait("log-shipper") == 0
        for name in ("terminal", "pipes"):
            pod.stop(name)
            assert pod.wait(name) == 5
            # Before it starts again, or the second "ready" may be counted as seen.
            seen = pod.expect(name, b"asked to end")
            pod.start(name)
            pod.expect(name, b"ready", behind=len(seen))
            pod.stop(name)
            assert pod.wait(name) == 5
    sessions = sessions_of(server, deployment_id)
    assert [session["exit_code"] for session in sessions] == [5] * 4


@pytest.mark.parametrize("uids", [(0, 0), (1000, 2000)], ids=["one user", "a user each"])
def test_last_words_of_killed_containers_are_delivered_by_their_successors(
    podman: Podman, own_server: Server, uids: tuple[int, int]
) -> None:
    """The backend is away, both containers print and are killed with -9: when they are started again,
    in the same volume, everything they printed arrives, once."""
    deployment_id = fresh_deployment_id()
    app = shell(WAIT_FOR_SIGNALS)
    text = manifest(
        own_server, deployment_id, terminal=app, pipes=app, uids=uids, restart_policy="OnFailure"
    )
    with playing(podman, text) as pod:
        for name in ("terminal", "pipes"):
            pod.expect(name, b"ready")
        until(lambda: len(sessions_of(own_server, deployment_id)) == 2, "both have said hello")
        own_server.kill()
        for name in ("terminal", "pipes"):
            pod.signal(name, "USR1")
        said = [pod.expect(name, b"last words") for name in ("terminal", "pipes")]
        for name in ("terminal", "pipes"):
            pod.kill(name)
        for name, first in zip(("terminal", "pipes"), said, strict=True):
            pod.expect(name, b"ready", behind=len(first))
        own_server.start()
        until(lambda: set(said) <= outputs(own_server, deployment_id).keys(), "all has arrived")
        for name in ("terminal", "pipes"):
            pod.stop(name)
        assert [pod.wait(name) for name in ("terminal", "pipes")] == [5, 5]
        everything = [pod.printed(name) for name in ("terminal", "pipes")]
    stored = outputs(own_server, deployment_id)
    assert len(stored) == 4
    for first, whole in zip(said, everything, strict=True):
        second = whole.removeprefix(first)
        assert stored[first].session["state"] == "cut"
        assert stored[second].session["exit_code"] == 5
        assert not stored[first].gaps
        assert not stored[second].gaps


def test_a_read_only_image_volume_serves_as_well(podman: Podman, server: Server) -> None:
    """Kubernetes mounts the image itself: nothing is installed, and nothing can be written."""
    deployment_id = fresh_deployment_id()
    settings = {
        "ENDPOINT": server.state.url + INGEST_PATH,
        "TOKEN": server.state.ingest_token,
        "DEPLOYMENT_ID": str(deployment_id),
    }
    options = [f"--env=_PRIVATE_ANVILOPS_LOG_{name}={value}" for name, value in settings.items()]
    options += ["--network=host", "--read-only", "--read-only-tmpfs=false", "--user=1000"]
    options.append(f"--mount=type=image,source={IMAGE},destination={MOUNT}")
    script = f"touch {MOUNT}/x || echo out; stty size; read answer; echo $answer; exit 7"
    command = ["podman", "run", "--rm", "--interactive", "--tty", *options, PROGRAM_IMAGE]
    command += [f"{MOUNT}/log-shipper", "/bin/sh", "-c", script]
    with Terminal(command, podman.environ, rows=33, cols=111) as terminal:
        terminal.expect("out\r\n33 111\r\n")
        terminal.type("yes\r")
        terminal.expect("yes\r\nyes\r\n")
        assert terminal.wait() == 7
        shown = bytes(terminal.shown)
    (session,) = sessions_of(server, deployment_id)
    assert Stored(server, session).streams[0] == shown
    assert session["exit_code"] == 7
