"""The systemd unit and the Kubernetes manifest name what there is, and what they start answers as told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptyshipper import statefile
from ptyshipper.backend import app, guards, health, operation
from ptyshipper.backend.ingest import hub
from ptyshipper.serve_config import SERVE_SETTINGS, ServeSettings, serve_settings
from ptyshipper.statefile import ServerState
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.operating import metrics_of
from tests.support.patience import PATIENCE_S, until
from tests.support.server import (
    REPOSITORY,
    Server,
    Shipper,
    output,
    running_server,
    start_record,
)

DEPLOY = REPOSITORY / "integration" / "deploy"
UNIT = DEPLOY / "ptyshipper.service"
MANIFEST = DEPLOY / "kubernetes.yaml"

DRAIN_WITHIN_S = (
    hub.STOP_WITHIN_S + guards.CLOSE_WITHIN_S + app.SHUTDOWN_WITHIN_S + app.FLUSH_WITHIN_S
)
NOBODY = 61_184
"""The first user that systemd gives to a unit with DynamicUser."""
VARIABLES = {setting.variable for setting in SERVE_SETTINGS}


def unit_lines(name: str) -> list[str]:
    """The values of a directive, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The manifest's, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Of the container, with something for what comes from the Secret."""
    return {each["name"]: each.get("value", "postgresql://host/name") for each in container["env"]}


def check_settings(given: dict[str, str]) -> ServeSettings:
    """Each is a variable of ours with a value that can be read."""
    assert set(given) <= VARIABLES
    return serve_settings(given, {})


def test_the_unit_s_settings_are_ours() -> None:
    given = dict(line.split("=", 1) for line in unit_lines("Environment"))
    given = {name: value.replace("%S", "/var/lib") for name, value in given.items()}
    settings = check_settings(given)
    (directory,) = unit_lines("StateDirectory")
    assert settings.data_dir == Path("/var/lib") / directory


def test_the_unit_s_command_is_ours_and_gets_the_time_that_a_drain_takes() -> None:
    (command,) = unit_lines("ExecStart")
    assert [Path(command.split()[0]).name, *command.split()[1:]] == ["ptyshipper", "serve"]
    assert float(unit_lines("TimeoutStopSec")[0]) > DRAIN_WITHIN_S
    comment = re.search(r"# A drain takes (\d+) s at most", UNIT.read_text())
    assert comment is not None
    assert float(comment[1]) == DRAIN_WITHIN_S


@pytest.fixture
def unit_here(tmp_path: Path) -> Path:
    """The unit with the command where it is on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    here = tmp_path / UNIT.name
    command = Path(sys.executable).with_name("ptyshipper")
    here.write_text(UNIT.read_text().replace("/usr/local/bin/ptyshipper", str(command)))
    return here


def test_systemd_finds_nothing_wrong_with_the_unit(unit_here: Path) -> None:
    """Neither a name that it does not know nor a value that it can't read: those are warnings."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit_here],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if unit_here.name in line]
    assert (done.returncode, told) == (0, [])


def test_systemd_finds_the_unit_well_shut_in(unit_here: Path) -> None:
    """Of 10 (all open) at most 2."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit_here],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def system_calls(group: str) -> set[str]:
    """Those that systemd means by it."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    words = {line.strip() for line in told.splitlines()[1:] if line.strip()[:1] not in ("", "#")}
    groups = {word for word in words if word.startswith("@")}
    return (words - groups).union(*map(system_calls, groups))


@pytest.fixture
def shut_in(tmp_path: Path) -> Iterator[tuple[ServerState, subprocess.Popen[bytes]]]:
    """The unit's command with its settings, as ``shut_in.sh`` runs it, and traced."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := [name for name in ("strace", "systemd-analyze") if shutil.which(name) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    (command,) = unit_lines("ExecStart")
    arguments = command.split()[1:]
    settings = [line.replace("%S", "/var/lib") for line in unit_lines("Environment")]
    python = f"/usr/local/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    places = [state, sys.base_prefix, sysconfig.get_path("purelib"), REPOSITORY]
    log = tmp_path / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                "unshare", "--mount", DEPLOY / "shut_in.sh", *places,
                "env", "-i", "PATH=/usr/bin:/bin", "PYTHONPATH=/mnt", "PYTHONDONTWRITEBYTECODE=1",
                "LD_LIBRARY_PATH=/usr/local/lib", "PTYSHIPPER_PORT=0", *settings,
                "strace", "-f", "-o", "/var/lib/ptyshipper/trace",
                python, "-c", "from ptyshipper.cli import main; main()", *arguments,
            ],
            stdout=subprocess.DEVNULL,
            stderr=said,
        )  # fmt: skip
    found: ServerState | None = None

    def has_started() -> bool:
        nonlocal found
        assert process.poll() is None, log.read_text()
        found = statefile.read(state)
        return found is not None

    try:
        until(has_started, "the backend listens")
        assert found is not None
        yield found, process
    finally:
        process.kill()
        process.wait()
        if found is not None:
            kill_if_there(found.pid)


def kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # as it should be


def test_the_unit_s_command_lives_shut_in_as_it_is(
    shut_in: tuple[ServerState, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It takes a session, shows it and ends, as nobody with one place to write, and asks the kernel for
    nothing that the unit forbids: system calls, address families, memory to write code to."""
    server = Server(tmp_path / "state")
    server.state, process = shut_in
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"line\n"))
    assert server.records(shipper.session_id)
    assert metrics_of(server)["ptyshipper_shippers"] == 1
    status = Path(f"/proc/{server.state.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t" in status
    assert "CapBnd:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status
    os.kill(server.state.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    shipper.socket.close()
    trace = (tmp_path / "state" / "trace").read_text()
    calls = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)", trace, re.MULTILINE))
    assert {"accept4", "epoll_wait"} & calls
    asked, *refused = unit_lines("SystemCallFilter")
    allowed = system_calls(asked).difference(*(system_calls(each[1:]) for each in refused))
    assert calls - allowed == set()
    (families,) = unit_lines("RestrictAddressFamilies")
    assert set(re.findall(r"\bsocket(?:pair)?\((\w+)", trace)) <= set(families.split())
    assert unit_lines("MemoryDenyWriteExecute") == ["yes"]
    writable_code = r"\bmmap\(.*PROT_WRITE\|PROT_EXEC|\b(?:pkey_)?mprotect\(.*PROT_EXEC"
    assert re.findall(f".*(?:{writable_code}).*", trace) == []


def test_the_manifest_s_settings_are_ours(container: dict[str, Any]) -> None:
    settings = check_settings(environment(container))
    assert container["command"] == ["ptyshipper", "serve"]
    assert settings.host == "0.0.0.0", "others reach it"
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {str(settings.data_dir)}, "the root is read-only"
    (port,) = container["ports"]
    assert port["containerPort"] == settings.port


def test_the_manifest_s_parts_fit_together(objects: dict[str, Any], pod: dict[str, Any]) -> None:
    service, deployment = objects["Service"], objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert labels
    assert selectors == [labels] * len(selectors)
    (container,) = pod["containers"]
    (port,) = container["ports"]
    (offered,) = service["spec"]["ports"]
    assert offered["targetPort"] == port["name"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert f"http://ptyshipper:{offered['port']}{INGEST_PATH}" in MANIFEST.read_text()
    assert deployment["spec"]["replicas"] > objects["PodDisruptionBudget"]["spec"]["minAvailable"]


def test_the_manifest_s_pod_is_shut_in_and_gets_the_time_that_a_drain_takes(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    _, waits_s = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > float(waits_s) + DRAIN_WITHIN_S
    assert container["readinessProbe"]["timeoutSeconds"] > health.READY_WITHIN_S


def test_what_is_probed_and_scraped_answers(
    objects: dict[str, Any], container: dict[str, Any], tmp_path: Path
) -> None:
    """On a backend that was told what the manifest tells, but where to be."""
    annotations = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    paths = [container[probe]["httpGet"]["path"] for probe in
             ("startupProbe", "livenessProbe", "readinessProbe")]  # fmt: skip
    assert paths == [operation.HEALTH_PATH, operation.HEALTH_PATH, operation.READY_PATH]
    assert annotations["prometheus.io/path"] == operation.METRICS_PATH
    assert int(annotations["prometheus.io/port"]) == container["ports"][0]["containerPort"]
    names = {setting.variable: setting.name for setting in SERVE_SETTINGS}
    placed = {"store_url", "host", "port", "data_dir", "anvilops"}
    flags = {
        names[name]: value
        for name, value in environment(container).items()
        if names[name] not in placed
    }
    with running_server(tmp_path, **flags) as server:
        assert [server.get(path, token="")[0] for path in paths] == [200, 200, 200]
        assert metrics_of(server)["ptyshipper_shippers"] == 0
        assert server.log_path.read_text().startswith("{"), "JSON, for a collector"
