"""How tests run a program: bare, and wrapped as a container's or as a local user's would be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ptyshipper.wire.paths import INGEST_PATH
from tests.support.patience import until
from tests.support.server import REPOSITORY, Server

LOG_SHIPPER = [sys.executable, "-c", "from ptyshipper.cli import main_log_shipper as m; m()"]
PTYSHIPPER = [sys.executable, "-m", "ptyshipper"]

BARE_ENVIRON: dict[str, str] = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("_PRIVATE_", "PTYSHIPPER_"))},
    "PYTHONPATH": str(REPOSITORY),
    "TERM": "xterm-256color",
    "PYTHONWARNINGS": "error",
}
BARE_ENVIRON.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling all of it anew takes 0.1 s a start


def shipping_environ(
    server: Server, spool_dir: Path | str | None = None, **settings: str
) -> dict[str, str]:
    """The environment of a container whose logs go to ``server``; settings by their short names."""
    prefix = "_PRIVATE_ANVILOPS_LOG_"
    environ = {
        **BARE_ENVIRON,
        prefix + "ENDPOINT": server.state.url + INGEST_PATH,
        prefix + "TOKEN": server.state.ingest_token,
        prefix + "TYPE": "runtime",
        prefix + "DEPLOYMENT_ID": "7",
    }
    if spool_dir is not None:
        environ[prefix + "SPOOL_DIR"] = str(spool_dir)
    return environ | {prefix + name.upper(): value for name, value in settings.items()}


def run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    data: bytes | None = None,
    cwd: Path | None = None,
    timeout_s: float = 60,
    **more: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run to the end on pipes; ``data`` is its stdin where given."""
    feed: dict[str, Any] = {"input": data} if data is not None else {"stdin": stdin}
    return subprocess.run(
        argv, env=dict(environ), capture_output=True, timeout=timeout_s, cwd=cwd, **feed, **more
    )


def latest_session(server: Server) -> dict[str, Any]:
    """The summary of the session that began last."""
    found: list[dict[str, Any]] = []

    def listed() -> bool:
        found[:] = server.get("/api/sessions?limit=1")[1]["sessions"]
        return bool(found)

    until(listed, "there is a session")
    return found[0]


def stored_output(server: Server, session: dict[str, Any]) -> dict[str, bytes]:
    """What the backend has of each stream, and ``all`` of it in order."""
    from ptyshipper.records import OUTPUT_KINDS, STREAM_NAMES, Kind, decode

    streams = {"stdout": bytearray(), "stderr": bytearray(), "tty": bytearray(), "all": bytearray()}
    for record in decode(server.records(bytes.fromhex(session["id"]))):
        if record.kind in OUTPUT_KINDS:
            streams[STREAM_NAMES[Kind(record.kind)]] += record.payload
            streams["all"] += record.payload
    return {name: bytes(data) for name, data in streams.items()}
