"""``ptyshipper sessions``: what ran, how it ended, how much it printed."""

from __future__ import annotations

import json
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any, TextIO

from ptyshipper.printed import text
from ptyshipper.view.client import Backend
from ptyshipper.view.output import ends_quietly, is_person, wants_colours

LIMIT = 1_000
ID_DIGITS = 12
HOST_CHARACTERS = 24
_HEADINGS = ("SESSION", "STATE", "EXIT", "STARTED", "RAN", "OUTPUT", "HOST", "COMMAND")
_COLOURS = {"running": "\x1b[32m", "cut": "\x1b[33m"}
_FAILED = "\x1b[31m"


@ends_quietly
def sessions(data_dir: Path, *, as_json: bool, out: TextIO) -> int:
    """List the newest sessions, newest first.

    Args:
        as_json: an object a line, as the API gives it, instead of a table.

    Raises:
        BackendError: there is no backend, or it does not answer.
    """
    found = Backend(data_dir).sessions(LIMIT)
    if as_json:
        out.writelines(json.dumps(session) + "\n" for session in found)
        return 0
    width = shutil.get_terminal_size().columns if is_person(out) else None
    lines = table(found, datetime.now(UTC), width, colours=wants_colours(out))
    out.writelines(line + "\n" for line in lines)
    return 0


def table(
    found: list[dict[str, Any]], now: datetime, width: int | None, *, colours: bool
) -> list[str]:
    """The sessions in columns as wide as they have to be, hosts cut to what leaves room for the rest;
    ``width`` cuts the lines, None does not."""
    rows = [_HEADINGS, *(_row(session, now) for session in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    lines = []
    for row, session in zip(rows, [None, *found], strict=True):
        cells = [cell.ljust(size) for cell, size in zip(row, widths, strict=False)]
        line = "  ".join([*cells, row[-1]])
        line = line if width is None else line[:width].rstrip()
        lines.append(_coloured(line, session) if colours else line)
    return lines


def _row(session: dict[str, Any], now: datetime) -> tuple[str, ...]:
    started = datetime.fromisoformat(session["started_at"])
    ended = session["ended_at"]
    ran = (datetime.fromisoformat(ended) if ended else now) - started
    gaps = f" ({session['gaps']} gaps)" if session["gaps"] else ""
    return (
        session["id"][:ID_DIGITS],
        session["state"],
        _exit(session),
        started.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        _duration(ran.total_seconds()),
        _size(session["bytes"]) + gaps,
        _host(session["hostname"]),
        text.visible(_command(session["command"]), colours=False),
    )


def _host(name: str) -> str:
    shown = text.visible(name, colours=False)
    return shown if len(shown) <= HOST_CHARACTERS else shown[: HOST_CHARACTERS - 1] + "…"


def _command(words: list[str]) -> str:
    return shlex.join(words).encode("utf-8", "replace").decode()


def _exit(session: dict[str, Any]) -> str:
    number = session["exit_signal"]
    if number is not None:
        try:
            return Signals(number).name
        except ValueError:
            return f"SIG{number}"
    return "" if session["exit_code"] is None else str(session["exit_code"])


def _duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _coloured(line: str, session: dict[str, Any] | None) -> str:
    if session is None:
        return f"{text.DIM}{line}{text.RESET}"
    failed = session["state"] == "exited" and (session["exit_code"] or session["exit_signal"])
    colour = _FAILED if failed else _COLOURS.get(session["state"])
    return f"{colour}{line}{text.RESET}" if colour else line
