"""The command lines of podman and docker; that they do it, integration/pod/test_repro.py shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.engine import EngineRun, Wrapping, find_engine, in_image, install, printed
from ptyshipper.repro.switches import Switches
from tests.repro.reading import read


def test_a_printed_line_can_be_read_but_for_what_was_given() -> None:
    line = printed(
        "podman", read("pod.yaml", given={"FLAG": "secret"}), Switches(), frozenset({"FLAG"})
    )
    text = " ".join(line)
    assert line[:3] == ["podman", "run", "--rm"]
    assert "secret" not in text
    for part in (
        "--tty --interactive",
        "--hostname till",
        "--workdir /srv",
        "--user 1001:2000 --group-add 44 --group-add 3000 --group-add 55",
        "--read-only --read-only-tmpfs=false --tmpfs /tmp",
        "--memory 1073741824 --cpus 1.5",
        "--cap-drop ALL --cap-add NET_BIND_SERVICE --security-opt no-new-privileges",
        "--env MODE=fast",
        "--env FLAG ",
        "--entrypoint /bin/server example.com/shop:1 --mode=fast --user shop",
    ):
        assert part in text


def test_docker_knows_less() -> None:
    text = " ".join(printed("docker", read("container.json"), Switches(), frozenset()))
    assert "--read-only --tmpfs /run" in text
    assert "--ulimit nofile=100:200 --ulimit core=0:-1" in text
    assert "umask" not in text


def test_the_token_stands_in_no_argument() -> None:
    """But in a file that is ours alone, and gone afterwards."""
    token = "_PRIVATE_ANVILOPS_LOG_TOKEN"
    container = replace(read("container.json"), env=(("A", "1"), ("LINES", "x\ny")))
    wrapping = Wrapping(Path("/volume"), {token: "secret"})
    run = EngineRun("docker", container, Switches(), wrapping)
    try:
        assert "secret" not in " ".join(run.argv)
        path = Path(run.argv[run.argv.index("--env-file") + 1])
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() == f"A=1\n{token}=secret\n"
        assert run.argv[run.argv.index("--env") + 1] == "LINES"
        assert run.environ["LINES"] == "x\ny"
        assert token not in run.environ
        at = run.argv.index("--entrypoint")
        assert run.argv[at + 1] == "/_private_anvilops_log_shipper/log-shipper"
        assert run.argv[at + 2 :] == ["example.com/till:3", "python", "app.py"]
    finally:
        run.remove()
    assert not path.exists()


def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_engine(None) is None
    with pytest.raises(UsageError, match="docker is not installed, or its engine does not answer"):
        find_engine("docker")


def test_an_image_whose_name_is_an_option_is_none() -> None:
    with pytest.raises(UsageError, match="is no image's name"):
        in_image(replace(read("container.json"), image="--privileged"), "podman")


def test_a_volume_that_somebody_else_laid_out_is_refused(tmp_path: Path) -> None:
    """A link there would have another directory opened to everybody."""
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (tmp_path / "log-shipper").symlink_to(secret)
    with pytest.raises(UsageError, match="is no directory of yours"):
        install(Path("/bin/true"), tmp_path / "log-shipper")
    assert secret.stat().st_mode & 0o7777 == 0o700


def test_in_a_volume_only_owners_replace_files(tmp_path: Path) -> None:
    install(Path("/bin/true"), tmp_path / "log-shipper")
    assert (tmp_path / "log-shipper").stat().st_mode & 0o7777 == 0o1777
