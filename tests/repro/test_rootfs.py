"""The config.json of an unpacked root; that runtimes take it, integration/test_repro.py shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.rootfs import config, find_runtime
from ptyshipper.repro.switches import Switches
from tests.repro.reading import read


def test_of_a_whole_pod(tmp_path: Path) -> None:
    found = config(read("pod.yaml"), tmp_path, Switches())
    process = found["process"]
    assert process["args"][0] == "/bin/server"
    assert (process["user"]["uid"], process["user"]["gid"]) == (1001, 2000)
    assert process["terminal"]
    assert process["noNewPrivileges"]
    assert process["capabilities"] == {"bounding": ["CAP_NET_BIND_SERVICE"]}
    assert process["cwd"] == "/srv"
    assert "TERM=xterm" in process["env"]
    assert not any(entry.startswith("HOME=") for entry in process["env"])
    assert found["root"] == {"path": str(tmp_path), "readonly": True}
    assert "/tmp" in [mount["destination"] for mount in found["mounts"]]


def test_of_a_container_with_limits(tmp_path: Path) -> None:
    process = config(read("container.json"), tmp_path, Switches())["process"]
    assert {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200} in process["rlimits"]
    assert {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1} in process["rlimits"]
    assert process["user"]["umask"] == 0o027


def test_switched_off(tmp_path: Path) -> None:
    off = frozenset(("pid_namespace", "user", "rlimits", "read_only_root"))
    found = config(read("container.json"), tmp_path, Switches.from_flags(off))
    assert "pid" not in [one["type"] for one in found["linux"]["namespaces"]]
    assert found["process"]["user"]["uid"] == 0
    assert found["process"]["rlimits"] == []
    assert not found["root"]["readonly"]


def test_nobody_says_what_is_to_be_run(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="has no command of its own; give the image's by --image-config"
    ):
        config(read("compose.yaml", "db"), tmp_path, Switches())


def test_a_runtime_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="runc or crun is not installed"):
        find_runtime(None)
