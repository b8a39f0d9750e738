"""Hatchling's hook: the wheel and the sdist carry the built page, whether it was built before or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUILD = Path(__file__).resolve().with_name("build.py")
_IS_BUILT = (_BUILD.parent / "built" / "index.html").exists()


class PageBuildHook(BuildHookInterface[Any]):
    """Builds the page, unless it is there: an sdist brings it along."""

    def dependencies(self) -> list[str]:
        if _IS_BUILT:
            return []
        told = subprocess.run(
            [sys.executable, _BUILD, "requirements"], capture_output=True, text=True, check=True
        )
        return told.stdout.split()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # A checkout that is installed to be worked on builds its page with make.
        if version != "editable" and not _IS_BUILT:
            subprocess.run([sys.executable, _BUILD, "page"], check=True)
