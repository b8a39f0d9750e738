"""DIR/tokens.json: the tokens of a backend, which outlive it.

``server.json`` goes when the backend stops, but the shippers do not: they come back to the next one
with the token they have.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from ptyshipper.errors import BackendError

FILE_NAME = "tokens.json"


@dataclass(frozen=True)
class Tokens:
    """What shippers and what viewers have to show."""

    ingest: str
    view: str


def read_or_make(data_dir: Path) -> Tokens:
    """The tokens of DIR, made when there are none yet. Only one process may do so at a time.

    Raises:
        BackendError: they can't be read, understood or written.
    """
    path = data_dir / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise BackendError(f"can't read {path}: {error.strerror}") from None
    try:
        fields = json.loads(text)
        tokens = Tokens(fields["ingest"], fields["view"])
    except (ValueError, KeyError, TypeError):
        tokens = Tokens("", "")
    # Anything else would be a token that nobody can send, or that anybody can guess.
    if not all(
        isinstance(token, str) and token.isascii() and token.isprintable() and len(token) >= 16
        for token in (tokens.ingest, tokens.view)
    ):
        raise BackendError(f"{path} holds no tokens; take it away to have new ones made")
    return tokens


def _make(path: Path) -> Tokens:
    tokens = Tokens(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    temporary = path.with_name(f".{FILE_NAME}.new")
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            json.dump(asdict(tokens), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise BackendError(f"can't write {path}: {error.strerror}") from None
    return tokens
