"""Every setting of the wrapper, in one table, and what the settings become.

In a container a setting is a variable under the reserved prefix; ``ptyshipper run`` also takes it
as a flag, which wins. ``SETTINGS`` is what the parser, ``--help`` and the README's test read. The program
sees none of the variables: ``agent`` leaves out whatever begins with the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ptyshipper.settings import Setting, Table, one_of, size, url, values_of, whole_number
from ptyshipper.variables import SETTING_PREFIX, TTY_VARIABLE

Overflow = Literal["drop", "block"]
TtyMode = Literal["auto", "always", "never"]
Transport = Literal["auto", "websocket", "http"]
Colours = Literal["keep", "remove"]


class SpoolSettings(NamedTuple):
    """Where records wait for their acknowledgement: in the first of ``directories`` that takes them,
    else in memory. ``is_chosen``: somebody named the place, and is told where it can't be used."""

    directories: tuple[Path, ...]
    max_bytes: int
    overflow: Overflow
    is_chosen: bool = True


class UplinkSettings(NamedTuple):
    """Where to ship, and how long to go on after the program's end.

    ``transport`` ``auto``: the WebSocket, else posts. ``colours``: those of a terminal, in posts.

    ``ca_bundle``: the directory of the bundle's own certificates, where this is one.
    """

    endpoint: str
    token: str
    ca_file: Path | None
    flush_timeout_s: float
    ca_bundle: str | None = None
    transport: Transport = "auto"
    colours: Colours = "remove"


class AgentSettings(NamedTuple):
    """All that the wrapper's process is told, checked."""

    tty: TtyMode
    deployment_id: int | None
    log_type: str
    drain_timeout_s: float
    spool: SpoolSettings
    uplink: UplinkSettings | None


def parse_token(text: str) -> str:
    """A bearer token: printable ASCII without spaces, so that it can end no header.

    Raises:
        ValueError: it is none.
    """
    if not text or not text.isascii() or any(not "!" <= char <= "~" for char in text):
        raise ValueError("has a character that no token has")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 <= seconds <= 3600:
        raise ValueError("must lie between 0 and 3600 seconds")
    return seconds


_P = SETTING_PREFIX

SETTINGS: Table = (
    Setting("endpoint", _P + "ENDPOINT", "--endpoint", "URL", None,
            url("http", "https", "ws", "wss"),
            "where to ship: http, https, ws or wss; run finds a local 'serve' by itself"),
    Setting("token", _P + "TOKEN", "", "", None, parse_token,
            "the bearer token; locally in a file (--token-file), never an argument"),
    Setting("deployment_id", _P + "DEPLOYMENT_ID", "--deployment", "N", None, whole_number,
            "the deployment that the session belongs to"),
    Setting("log_type", _P + "TYPE", "--type", "TYPE", "runtime", one_of("build", "runtime"),
            "build or runtime"),
    Setting("transport", _P + "TRANSPORT", "--transport", "HOW", "auto",
            one_of("auto", "websocket", "http"),
            "auto: a WebSocket, and JSON posts of lines where the endpoint speaks none; or one of them"),
    Setting("colours", _P + "COLOURS", "--colours", "WHAT", "remove", one_of("keep", "remove"),
            "of a terminal's lines where they are posted"),
    Setting("tty", TTY_VARIABLE, "--tty", "WHEN", "auto", one_of("auto", "always", "never"),
            "auto: a terminal where there is one outside; always: for stdout and stderr; never: pipes"),
    Setting("ca_file", _P + "CA_FILE", "--ca-file", "FILE", None, Path,
            "certificates (PEM) to trust beside the system's"),
    Setting("spool_dir", _P + "SPOOL_DIR", "--spool-dir", "DIR", None, Path,
            "where records wait; else the volume that log-shipper is in (run: the data directory), "
            "else a temporary directory, else memory"),
    Setting("spool_max_bytes", _P + "SPOOL_MAX_BYTES", "--spool-max", "SIZE", "64M",
            size("512K", "1024G"),
            "bound of the spool, with K, M or G"),
    Setting("spool_overflow", _P + "SPOOL_OVERFLOW", "--spool-overflow", "WHAT", "drop",
            one_of("drop", "block"),
            "a full spool drops its oldest records into a gap, or blocks the program"),
    Setting("flush_timeout_s", _P + "FLUSH_TIMEOUT_S", "--flush-timeout", "S", "10", _seconds,
            "how long to go on delivering after the program's end"),
    Setting("drain_timeout_s", _P + "DRAIN_TIMEOUT_S", "--drain-timeout", "S", "2", _seconds,
            "how long to go on reading after the program's end while another still writes"),
)  # fmt: skip


def settings_from(
    environ: Mapping[str, str], flags: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, Any]:
    """The value of each setting: its flag's, else its variable's, else its default.

    A variable that can't be read is one warning and the default: a container with a bad setting
    still runs its program.

    Raises:
        UsageError: a flag can't be read.
    """
    return values_of(SETTINGS, environ, flags, lambda what: warn(f"{what}; it is not used"))
