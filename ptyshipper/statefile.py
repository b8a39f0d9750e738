"""DIR/server.json: how the commands of one machine find the backend that runs there.

Two terminals need no flags: ``serve`` writes the file, everything else reads it. It holds tokens,
so only its owner may read it (mode 0600).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ptyshipper.errors import BackendError
from ptyshipper.variables import DATA_VARIABLE

FILE_NAME = "server.json"
_MAX_BYTES = 65_536
_REQUIRED = ("url", "ingest_token", "view_token", "pid")


@dataclass(frozen=True)
class ServerState:
    """Where this machine's commands reach a backend (``http://host:port``), its tokens and its process
    id; and where browsers do, if that is elsewhere."""

    url: str
    ingest_token: str
    view_token: str
    pid: int
    public_url: str | None = None


def default_data_dir(environ: dict[str, str]) -> Path:
    """``PTYSHIPPER_DATA``, else ptyshipper's folder in the XDG state directory.

    Source: XDG Base Directory Specification 0.8, ``$XDG_STATE_HOME``; a relative one is ignored.
    """
    if environ.get(DATA_VARIABLE):
        return Path(environ[DATA_VARIABLE])
    state = environ.get("XDG_STATE_HOME", "")
    base = (
        Path(state) if state.startswith("/") else Path(environ.get("HOME") or "/") / ".local/state"
    )
    return base / "ptyshipper"


def write(data_dir: Path, state: ServerState) -> None:
    """Replace DIR/server.json atomically, readable by its owner alone from its first byte on."""
    temporary = data_dir / f".{FILE_NAME}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(state), file, indent=2)
        file.write("\n")
    os.replace(temporary, data_dir / FILE_NAME)


def read(data_dir: Path) -> ServerState | None:
    """The backend that DIR tells of, or None where there is none.

    Raises:
        BackendError: the file is there but can't be read or understood.
    """
    path = data_dir / FILE_NAME
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackendError(f"can't read {path}: {error.strerror}") from None
    try:
        fields = json.loads(text)
        state = ServerState(
            **{name: fields[name] for name in _REQUIRED}, public_url=fields.get("public_url")
        )
    except (ValueError, KeyError, TypeError):
        raise BackendError(
            f"{path} is not what 'ptyshipper serve' writes; start it again"
        ) from None
    texts = (state.url, state.ingest_token, state.view_token, state.public_url or "")
    if not all(isinstance(value, str) for value in texts):
        raise BackendError(f"{path} is not what 'ptyshipper serve' writes; start it again")
    return state


def remove(data_dir: Path, pid: int) -> None:
    """Take DIR/server.json away where it still tells of the backend with this process id."""
    try:
        state = read(data_dir)
        if state is not None and state.pid == pid:
            (data_dir / FILE_NAME).unlink(missing_ok=True)
    except (BackendError, OSError):
        pass  # it is another's by now, or gone: nothing of ours to take away
