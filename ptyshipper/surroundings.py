"""What a program was started in, as a recording tells it: enough to start it again, and no secret.

The environment's values are kept by name, since a secret may stand in any of them: of those that are not
in ``TOLD`` only the name is kept. None of it is sent to a backend.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

MAX_BYTES = 1 << 20

TOLD = frozenset(
    b"CLICOLOR CLICOLOR_FORCE COLORTERM COLUMNS FORCE_COLOR HOME HOSTNAME LANG LANGUAGE LINES LOGNAME"
    b" NODE_ENV NO_COLOR OLDPWD PATH PWD PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED RAILS_ENV SHELL SHLVL"
    b" TERM TMPDIR TZ USER _".split()
)
_TOLD_PREFIX = b"LC_"


def surroundings(
    argv: Sequence[bytes], environ: Mapping[bytes, bytes], tty: str, stdio: Sequence[str]
) -> dict[str, Any]:
    """The whole command, and what it depends on: a JSON object of at most ``MAX_BYTES``.

    ``argv``; ``cwd``, None where it is gone; ``umask``, ``uid``, ``gid``; ``tty``, the mode that was asked
    for; ``stdio``, what 0, 1 and 2 were outside (``StdioPlan.outside``); ``env`` by name, and in
    ``withheld`` the names of the others. Bytes that are no UTF-8 are escaped as PEP 383 has it. What is
    too long is left out.
    """
    told = {name: value for name, value in environ.items() if is_told(name)}
    about: dict[str, Any] = {
        "argv": [_text(word) for word in argv],
        "cwd": _cwd(),
        "umask": _umask(),
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "tty": tty,
        "stdio": list(stdio),
        "env": {_text(name): _text(value) for name, value in told.items()},
        "withheld": sorted(_text(name) for name in environ.keys() - told.keys()),
    }
    for largest in ("withheld", "env", "argv", "cwd"):
        if len(json.dumps(about)) <= MAX_BYTES:
            break
        del about[largest]
    return about


def is_told(name: bytes) -> bool:
    """Whether this variable's value may be written down."""
    return name in TOLD or name.startswith(_TOLD_PREFIX)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _cwd() -> str | None:
    try:
        return _text(os.getcwdb())
    except OSError:
        return None


def _umask() -> int | None:
    """Looked up, since asking umask(2) means changing it; source: proc(5)."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError, IndexError):
        pass
    return None
