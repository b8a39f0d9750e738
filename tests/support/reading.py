"""The reading commands as processes, on pipes or on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.server import REPOSITORY

_COMMAND = """
import sys
from pathlib import Path
from ptyshipper.errors import PtyshipperError
from ptyshipper.view.export import export
from ptyshipper.view.logs import logs
from ptyshipper.view.sessions import sessions
from ptyshipper.view.watch import watch
D = Path(sys.argv[1])
try:
    status = {call}
except PtyshipperError as error:
    print(f"ptyshipper: {{error}}", file=sys.stderr)
    status = error.exit_code
sys.exit(status)
"""


def command(call: str, data_dir: Path) -> list[str]:
    """argv of a process that makes ``call``, with the data directory as ``D``."""
    return [sys.executable, "-c", _COMMAND.format(call=call), str(data_dir)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}


def read(call: str, data_dir: Path) -> subprocess.CompletedProcess[bytes]:
    """Run it with its output in pipes."""
    return subprocess.run(
        command(call, data_dir), env=environment(), capture_output=True, timeout=30
    )
