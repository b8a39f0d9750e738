"""A recorded session as a container: what is known of how its program was started."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from ptyshipper.config import TtyMode
from ptyshipper.errors import UsageError
from ptyshipper.records import Kind, Started
from ptyshipper.repro.container import Container, Missing, Note

OUTSIDE = ("terminal", "other", "stdout", "closed")
"""What a descriptor can be outside (``child.stdio.StdioPlan.outside``)."""

_MODES: dict[str, TtyMode] = {"auto": "auto", "always": "always", "never": "never"}
_MAX_MASK = 0o777
_CUT_BYTES = 7_000
"""A HELLO has room for a command of 8,192 bytes; one that is nearly so long may have been cut."""


class Recorded(NamedTuple):
    """How a session's program was started.

    ``tty`` is the wrapper's mode, ``stdio`` what 0, 1 and 2 were outside it. ``has_env`` is False where
    nothing of the environment is known.
    """

    container: Container
    tty: TtyMode
    stdio: tuple[str, str, str]
    has_env: bool


def recorded(
    session: Mapping[str, Any], about: Mapping[str, Any], started: Started, kinds: frozenset[int]
) -> Recorded:
    """What can be repeated of a session. Nothing in it is trusted but to have been run before.

    Args:
        session: its summary.
        about: what its program was started in, empty where a backend has the session.
        started: its STARTED record.
        kinds: of its records.

    Raises:
        UsageError: it tells of no command that can be run.
    """
    notes = [Note("input", "what was typed or piped in is never recorded")]
    argv = _words(about.get("argv"))
    if argv is None:
        argv = _command(session)
        if sum(map(len, argv)) > _CUT_BYTES:
            notes.append(Note("command", "it is so long that it may have been cut"))
    if not argv or any("\0" in word for word in argv):
        raise UsageError("the session tells of no command that can be run")
    env = _strings(about.get("env"))
    withheld = _words(about.get("withheld")) or ()
    if not about:
        why = "a backend is not told of it, a recording is (run --record); taken from here"
        notes += [Note("env", why), Note("cwd", why)]
    cwd, umask = about.get("cwd"), about.get("umask")
    hostname = session.get("hostname")
    is_mask = isinstance(umask, int) and 0 <= umask <= _MAX_MASK
    stdio = _stdio(about.get("stdio"))
    mode = _MODES.get(str(about.get("tty")))
    if mode is None or stdio is None:
        mode, stdio = _guessed(started.tty_mask, kinds)
    container = Container(
        name=str(session["id"])[:12],
        source=f"session {str(session['id'])[:12]}",
        command=argv,
        env=tuple((env or {}).items()),
        missing=tuple(Missing(name, "not recorded, since it may be a secret") for name in withheld),
        cwd=cwd if isinstance(cwd, str) and cwd and "\0" not in cwd else None,
        tty="terminal" in stdio,
        user=_id(about.get("uid")),
        group=_id(about.get("gid")),
        umask=umask if is_mask else None,
        hostname=hostname if isinstance(hostname, str) and hostname else None,
        initial_size=(started.rows, started.cols),
        notes=tuple(notes),
    )
    return Recorded(container, mode, stdio, env is not None)


def _guessed(tty_mask: int, kinds: frozenset[int]) -> tuple[TtyMode, tuple[str, str, str]]:
    """Mode and descriptors, by what the program had: a terminal whose output is not recorded as that
    of one is a pty of its own, which only ``always`` gives."""
    has_terminals = bool(tty_mask & 0b110)
    if has_terminals and Kind.TTY not in kinds and kinds & {Kind.STDOUT, Kind.STDERR}:
        return "always", ("other", "other", "other")
    first, second, third = ("terminal" if tty_mask >> fd & 1 else "other" for fd in range(3))
    return "auto", (first, second, third)


def _stdio(value: object) -> tuple[str, str, str] | None:
    if not isinstance(value, list) or len(value) != 3 or any(one not in OUTSIDE for one in value):
        return None
    return value[0], value[1], value[2]


def _command(session: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that the session's description has, as the bytes that they were where that is told."""
    encoded = session.get("command_base64")
    if isinstance(encoded, list):
        try:
            raw = [base64.b64decode(word, validate=True) for word in encoded]
        except (binascii.Error, ValueError, TypeError):
            raw = []
        if raw:
            return tuple(word.decode("utf-8", "surrogateescape") for word in raw)
    return _words(session.get("command")) or ()


def _id(value: object) -> int | None:
    """A user's or a group's; beyond these it is none that the kernel knows."""
    return value if type(value) is int and 0 <= value < 2**32 - 1 else None


def _words(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(_is_text(word) for word in value):
        return None
    return tuple(value)


def _strings(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {
        name: text
        for name, text in value.items()
        if _is_text(name)
        and _is_text(text)
        and name
        and "=" not in name
        and "\0" not in name + text
    }


def _is_text(value: object) -> bool:
    """A string that has bytes: its surrogates, if any, stand for some (PEP 383)."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
