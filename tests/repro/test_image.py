"""Images and containers, as skopeo, docker and podman tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptyshipper.repro.container import Limit
from tests.repro.reading import pod, read, read_text, refusal


def test_an_oci_configuration() -> None:
    image = read("config.json")
    assert image.argv == ("docker-entrypoint.sh", "serve", "--all")
    assert dict(image.env) == {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    assert (image.cwd, image.user, image.group) == ("/app", "app", "www")
    assert image.stop_signal == "SIGQUIT"
    assert image.image is None


def test_a_container_of_docker() -> None:
    till = read("container.json")
    assert (till.name, till.image) == ("till", "example.com/till:3")
    assert till.argv == ("python", "app.py")
    assert dict(till.env) == {"A": "1", "B": ""}
    assert (till.tty, till.stdin, till.stdin_once) == (True, True, False)
    assert (till.user, till.group, till.groups) == (1000, None, (44,))
    assert till.umask == 0o027
    assert till.rlimits == {"NOFILE": Limit(100, 200), "CORE": Limit(0, -1)}
    assert (till.memory_bytes, till.cpus) == (64 * 2**20, 1.5)
    assert till.read_only_root
    assert till.scratch == ("/run",)
    assert (till.add_capabilities, till.drop_capabilities) == (("SYS_PTRACE",), ("MKNOD",))
    assert till.no_new_privileges
    assert (till.grace_period_s, till.stop_signal) == (3, "SIGTERM")
    assert {note.field for note in till.notes} == {
        "[0].HostConfig.Binds[0]",
        "[0].HostConfig.GroupAdd[1]",
    }


def test_an_image_of_docker(tmp_path: Path) -> None:
    text = (
        '[{"Id": "sha256:0", "RepoTags": ["a/b:c"], "Config": {"Cmd": ["sh"], "Entrypoint": null}}]'
    )
    image = read_text(text, tmp_path)
    assert (image.image, image.name, image.argv) == ("a/b:c", "b", ("sh",))


def test_an_entry_point_of_an_older_podman(tmp_path: Path) -> None:
    text = (
        '[{"Name": "x", "HostConfig": {}, "Config": {"Entrypoint": "/bin/sh -c", "Cmd": ["true"]}}]'
    )
    assert read_text(text, tmp_path).argv == ("/bin/sh", "-c", "true")


@pytest.mark.parametrize(
    ("manifest", "argv"),
    [
        ("{name: c}", ("docker-entrypoint.sh", "serve", "--all")),
        ("{name: c, args: [a]}", ("docker-entrypoint.sh", "a")),
        ("{name: c, command: [b]}", ("b",)),
        ("{name: c, command: [b], args: [a]}", ("b", "a")),
    ],
)
def test_command_and_args_before_entrypoint_and_cmd(
    manifest: str, argv: tuple[str, ...], tmp_path: Path
) -> None:
    """The table of Kubernetes' documentation."""
    merged = read_text(pod(manifest), tmp_path).on_image(read("config.json"))
    assert merged.argv == argv
    assert dict(merged.env)["LANG"] == "C.UTF-8"
    assert (merged.cwd, merged.user, merged.group) == ("/app", "app", "www")
    assert merged.stop_signal == "SIGQUIT"


def test_what_the_manifest_says_wins(tmp_path: Path) -> None:
    text = pod(
        "{name: c, workingDir: /x, env: [{name: LANG, value: C}], securityContext: {runAsUser: 1}}"
    )
    merged = read_text(text, tmp_path).on_image(read("config.json"))
    assert (merged.cwd, merged.user, merged.group) == ("/x", 1, None)
    assert dict(merged.env)["LANG"] == "C"


REFUSED = {
    "skopeo without --config": (
        '{"Name": "x", "Layers": [], "Env": []}',
        "1: has no configuration; use skopeo inspect --config, or docker inspect",
    ),
    "a variable without a value": (
        '{"config": {"Env": ["A"]}}',
        "1: config.Env[0]: must be NAME=VALUE",
    ),
    "a signal that is none": (
        '{"config": {"StopSignal": "SIGFOO"}}',
        "1: config.StopSignal: is no signal: 'SIGFOO'",
    ),
    "a umask that is none": (
        '{"config": {"Umask": "rwx"}}',
        '1: config.Umask: must be octal, such as "0022"',
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_is_refused_with_line_path_and_reason(what: str, tmp_path: Path) -> None:
    text, said = REFUSED[what]
    assert refusal(text, tmp_path) == said


def test_groups_that_are_no_numbers_are_noted(tmp_path: Path) -> None:
    text = (
        '[{"Id": "0", "Name": "/c", "Path": "x", "Args": [], "Config": {"Cmd": ["x"]},'
        ' "HostConfig": {"GroupAdd": ["\u00b2", "12345678901", "7"]}}]'
    )
    container = read_text(text, tmp_path)
    assert container.groups == (7,)
    assert len(container.notes) == 2
