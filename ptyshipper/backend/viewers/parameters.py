"""Parameters of requests: what each may be, as a reader is told and as it is read. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from ptyshipper.backend.session import MAX_INTEGER
from ptyshipper.backend.viewers.answers import Refused


class Parameter(NamedTuple):
    """``schema`` is JSON Schema, as OpenAPI takes it; ``read`` raises ValueError for anything else,
    with the rest of a sentence that begins with the name."""

    name: str
    description: str
    schema: dict[str, Any]
    read: Callable[[str], Any]
    default: Any = None
    is_required: bool = False
    place: str = "query"


def integer(
    name: str,
    description: str,
    least: int,
    most: int = MAX_INTEGER,
    default: int | None = None,
    place: str = "query",
) -> Parameter:
    """A whole number from ``least`` to ``most``."""
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default

    def read(text: str) -> int:
        if len(text) > 20 or not re.fullmatch(r"-?[0-9]+", text, re.ASCII):
            raise ValueError("must be a whole number")
        value = int(text)
        if not least <= value <= most:
            raise ValueError(f"must be from {least} to {most}")
        return value

    return Parameter(name, description, schema, read, default, place=place)


def choice(name: str, description: str, values: tuple[str, ...]) -> Parameter:
    """One of these words."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return Parameter(name, description, {"type": "string", "enum": list(values)}, read)


def flag(name: str, description: str) -> Parameter:
    """``true`` or ``false``, which is what it is where it is missing."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"

    return Parameter(name, description, {"type": "boolean", "default": False}, read, False)


def text(
    name: str,
    description: str,
    most_characters: int,
    *,
    least_characters: int = 0,
    pattern: str | None = None,
    is_required: bool = False,
    place: str = "query",
) -> Parameter:
    """Any text of that length; ``pattern`` is a regular expression for all of it."""
    schema: dict[str, Any] = {"type": "string", "maxLength": most_characters}
    if least_characters:
        schema["minLength"] = least_characters
    if pattern is not None:
        schema["pattern"] = f"^{pattern}$"

    def read(given: str) -> str:
        if not least_characters <= len(given) <= most_characters:
            raise ValueError(f"must have {least_characters} to {most_characters} characters")
        if pattern is not None and not re.fullmatch(pattern, given):
            raise ValueError(f"must be as {pattern}")
        return given

    return Parameter(name, description, schema, read, None, is_required, place)


def read_all(parameters: tuple[Parameter, ...], query: Mapping[str, str]) -> dict[str, Any]:
    """The values in a query, defaults for what is missing; what the table does not know is not looked at.

    Raises:
        Refused: 400 where one is missing, or is none of what it may be.
    """
    values = dict[str, Any]()
    for parameter in parameters:
        if parameter.place != "query":
            continue
        given = query.get(parameter.name)
        if given is None:
            if parameter.is_required:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{parameter.name} is missing")
            values[parameter.name] = parameter.default
            continue
        try:
            values[parameter.name] = parameter.read(given)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{parameter.name} {error}") from None
    return values
