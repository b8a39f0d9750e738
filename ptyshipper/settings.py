"""What a table of settings is made of, and how it becomes values.

``config`` has the wrapper's table, ``serve_config`` the backend's. Each is read by the parser, by
``--help`` and by the README's test, so a setting is written down once.

No ``dataclasses`` here: the module is loaded in every wrapped container, and that one brings
``inspect`` with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ptyshipper.errors import UsageError


class Setting(NamedTuple):
    """A row of a table: ``variable`` in the environment, ``flag`` on the command line, '' where there
    is none. A flag without a ``metavar`` takes no value. ``default`` is what one would write; None:
    nothing is set."""

    name: str
    variable: str
    flag: str
    metavar: str
    default: str | None
    parse: Callable[[str], Any]
    help: str


Table = tuple[Setting, ...]


def values_of(
    table: Table,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    misread: Callable[[str], None],
) -> dict[str, Any]:
    """The value of each setting: its flag's, else its variable's, else its default.

    ``misread`` is told of a variable that can't be read; where it returns, the default is used. Values
    are not repeated in messages: one may be a token in the wrong place.

    Raises:
        UsageError: a flag can't be read; the person who typed it is there to mend it.
    """
    values: dict[str, Any] = {}
    for setting in table:
        default = setting.default
        values[setting.name] = None if default is None else setting.parse(default)
        if setting.name in flags:
            try:
                values[setting.name] = setting.parse(flags[setting.name])
            except ValueError as error:
                raise UsageError(f"{setting.flag} {error}") from None
        elif environ.get(setting.variable):
            try:
                values[setting.name] = setting.parse(environ[setting.variable])
            except ValueError as error:
                misread(f"{setting.variable} {error}")
    return values


# What follows reads values. Each raises ValueError with the rest of a sentence that begins with the
# setting's name.


def url(*schemes: str) -> Callable[[str], str]:
    """A URL of one of these schemes, with a host and without a user."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            raise ValueError("is no URL") from None
        if parts.scheme not in schemes:
            *others, last = (f"{scheme}://" for scheme in schemes)
            raise ValueError(f"must begin with {', '.join(others)} or {last}")
        if not parts.hostname or not port_is_fine:
            raise ValueError("names no host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user name or password")
        if not text.isascii() or any(char <= " " for char in text):
            raise ValueError("has a character that no URL has")
        return text

    return parse


def whole_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ValueError("must be a whole number")
    return int(text)


def size(least: str, most: str) -> Callable[[str], int]:
    """A number of bytes, with K, M or G behind it or not."""

    def parse(text: str) -> int:
        size_bytes = _bytes(text)
        if not _bytes(least) <= size_bytes <= _bytes(most):
            raise ValueError(f"must lie between {least} and {most}")
        return size_bytes

    return parse


def _bytes(text: str) -> int:
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:].upper(), 1)
    return whole_number(text[:-1] if factor > 1 else text) * factor


class one_of:
    """One of these words, in capitals or not; ``choices`` for whoever offers them."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, text: str) -> str:
        if text.lower() not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}")
        return text.lower()
