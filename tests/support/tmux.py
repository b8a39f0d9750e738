"""A real terminal emulator, tmux, without anybody before it."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from tests.support.patience import PATIENCE_S, until


class Tmux:
    """One terminal, looked at and typed at.

    Args:
        socket: a path for its own use.
        command: for a shell; its exit status is shown at its end.
    """

    def __init__(
        self,
        socket: Path,
        command: str,
        environ: dict[str, str],
        cwd: Path,
        *,
        cols: int = 90,
        rows: int = 28,
    ) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._environ = environ
        marker = '; printf "\\nended with %s\\n" $?; sleep 60'
        self._call(
            "new-session",
            "-d",
            "-x",
            str(cols),
            "-y",
            str(rows),
            "-c",
            str(cwd),
            f"exec 2>&1; {command}{marker}",
        )

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words],
            env={k: v for k, v in self._environ.items() if k != "TMUX"},
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return done.stdout.decode()

    def keys(self, *keys: str) -> None:
        self._call("send-keys", *keys)

    def screen(self) -> str:
        return self._call("capture-pane", "-p", "-e")

    def shows(self, pattern: str, asks: tuple[str, ...] = ()) -> None:
        """Wait until the screen matches, and is the same at a second look; press ``asks`` until it does."""

        def matches() -> bool:
            if asks:
                self.keys(*asks)
                time.sleep(0.1)  # for the answer, or the screen is full of questions
            return re.search(pattern, self.screen()) is not None

        try:
            until(matches, f"the screen matches {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is:\n{self.screen()}") from None
        last = ""
        while last != (last := self.screen()):
            time.sleep(0.1)

    def resize(self, cols: int, rows: int) -> None:
        self._call("resize-window", "-x", str(cols), "-y", str(rows))

    def close(self) -> None:
        self._call("kill-server")
