"""Files of variables: one ``NAME=VALUE`` a line, as ``docker run --env-file`` reads them.

A value is taken as it stands, quotes too; a line with a ``#`` first is none. A name alone takes the value
that it has here. Compose's own form of the file (``.env``) has quotes around values taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptyshipper.errors import UsageError
from ptyshipper.repro.documents import ManifestError

MAX_BYTES = 2**20


def pair(text: str, here: Mapping[str, str]) -> tuple[str, str] | None:
    """A ``NAME=VALUE``, or the value that NAME has here; None where it has none.

    Raises:
        ValueError: it has no name, or a NUL.
    """
    name, equals, value = text.partition("=")
    if not name or "\0" in text:
        raise ValueError("must be NAME=VALUE")
    if equals:
        return name, value
    return (name, here[name]) if name in here else None


def read_env_file(path: Path, here: Mapping[str, str], *, unquote: bool = False) -> dict[str, str]:
    """Its variables.

    Raises:
        UsageError: it can't be read, or a line says nothing; which, says the message, but never what.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"can't read {path}: {reason}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    values: dict[str, str] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        try:
            found = pair(line, here)
        except ValueError as error:
            raise ManifestError(str(path), number, "", str(error)) from None
        if found is not None:
            name, value = found
            if unquote:
                name, value = name.removeprefix("export ").strip(), _unquoted(value.strip())
            values[name] = value
    return values


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
