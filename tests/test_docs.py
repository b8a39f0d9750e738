"""The README tells of everything that a user can set, run and meet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptyshipper import __version__
from ptyshipper.backend.metrics import COUNTERS, GAUGES, HISTOGRAMS, LABELLED
from ptyshipper.backend.viewers.openapi import OPENAPI_PATH
from ptyshipper.config import SETTINGS
from ptyshipper.serve_config import SERVE_SETTINGS
from ptyshipper.settings import Setting
from tests.support.server import Server

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")


def table_row(first_cell: str) -> list[str]:
    """The cells of the one row that begins so."""
    rows = [
        re.split(r"(?<!\\)\|", line.strip().strip("|"))
        for line in README.splitlines()
        if line.startswith(f"| {first_cell} |")
    ]
    assert len(rows) == 1, f"the README has {len(rows)} rows that begin with {first_cell}"
    return [cell.strip() for cell in rows[0]]


def said_by(*arguments: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize("setting", SETTINGS + SERVE_SETTINGS, ids=lambda setting: setting.name)
def test_readme_has_every_setting_with_flag_and_default(setting: Setting) -> None:
    """A row of the settings table says what the code's table says."""
    _, flag, default, meaning = table_row(f"`{setting.variable}`")
    written = f"{setting.flag} {setting.metavar}".strip()
    assert flag == (f"`{written}`" if written else "none")
    assert default.strip("`") == (setting.default or "none")
    assert meaning


def test_readme_has_no_setting_that_is_gone() -> None:
    """Every variable of ours that the README names is one of the code's tables."""
    named = set(re.findall(r"(?:_PRIVATE_ANVILOPS_LOG|\bPTYSHIPPER)_\w+", README))
    assert named == {setting.variable for setting in SETTINGS + SERVE_SETTINGS}


def test_readme_has_every_exit_code() -> None:
    """With what it means, as the code's table puts it, less whose code it is."""
    # In a process of its own: cli.py blocks every signal when it is imported, as PID 1 needs it.
    code = "import json; from ptyshipper.cli import EXIT_CODES; print(json.dumps(EXIT_CODES))"
    codes = json.loads(said_by("-c", code))
    assert "127" in codes
    for number, meaning in codes.items():
        meaning = meaning.removeprefix("run, log-shipper: ").partition("; of run")[0]
        assert table_row(number) == [number, meaning]


def test_readme_has_every_subcommand_of_the_help() -> None:
    """Each as a row of the table of commands."""
    shown = said_by("-m", "ptyshipper", "--help")
    commands = re.findall(r"^    (\w+)  +\S", shown, re.MULTILINE)
    assert "run" in commands
    missing = [
        name for name in commands if f"| `ptyshipper {name} " not in README.replace("` |", " ` |")
    ]
    assert missing == []


def test_readme_has_every_path_that_is_served(tmp_path: Path) -> None:
    """In the table of the viewer API; a row may have several that belong together."""
    server = Server(tmp_path / "data")
    server.start()
    try:
        document = server.get(OPENAPI_PATH)[1]
    finally:
        server.kill()
    cells = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `/")]
    named = set(re.findall(r"`(/[^`]*)`", " ".join(cells)))
    sockets = {"/api/sessions/{id}/live", "/api/sessions/{id}/records"}
    assert named | {OPENAPI_PATH} == set(document["paths"]) | sockets
    assert OPENAPI_PATH in README


def test_readme_has_every_metric() -> None:
    """By the name that Prometheus shows."""
    names = {
        *GAUGES,
        "viewers",
        *(f"{name}_total" for name in (*COUNTERS, *LABELLED)),
        *HISTOGRAMS,
    }
    cells = [
        line.split("|")[1] for line in README.splitlines() if line.startswith("| `ptyshipper_")
    ]
    assert set(re.findall(r"`ptyshipper_(\w+)`", " ".join(cells))) == names


def test_links_within_the_readme_lead_somewhere() -> None:
    """Each to a heading."""
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = re.findall(r"\]\(#([^)]+)\)", README)
    assert linked
    assert [anchor for anchor in linked if anchor not in anchors] == []


def test_readme_and_makefile_have_the_same_targets() -> None:
    """No target without a line for whoever looks for one, and no line without a target."""
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", README))
    assert named == targets


def test_files_that_the_readme_sends_to_exist() -> None:
    """A path in backquotes, of this repository, is there."""
    paths = re.findall(r"`((?:ptyshipper|integration|tests|\.ci)/[\w./]*)`", README)
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_changelog_has_this_version_and_a_place_for_the_next() -> None:
    """Keep a Changelog: the newest first, and what is not released yet above it."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]
