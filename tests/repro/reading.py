"""How the tests read manifests: those beside them, and texts of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.container import Container
from ptyshipper.repro.load import load

MANIFESTS = Path(__file__).parent / "manifests"


def read(file: str, name: str | None = None, given: Mapping[str, str] | None = None) -> Container:
    """A container of one of the manifests beside the tests."""
    return load(str(MANIFESTS / file), name, given or {})


def read_text(text: str, directory: Path, given: Mapping[str, str] | None = None) -> Container:
    """The container of a text."""
    path = directory / "file"
    path.write_text(text)
    return load(str(path), None, given or {})


def refusal(text: str, directory: Path) -> str:
    """What is said of a text that is refused, without the file's name."""
    with pytest.raises(UsageError) as caught:
        read_text(text, directory)
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.exit_code == 2
    return said.removeprefix(f"{directory / 'file'}:").strip()


def pod(container: str = "{name: c, command: [c]}", spec: str = "") -> str:
    """A pod with one container, on its 7th line."""
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  {spec or "restartPolicy: Always"}
  containers:
  - {container}
"""
