"""The backend's own log, on stderr: lines for a person, or JSON objects for a machine.

``text`` tells what went wrong; ``json`` tells an operator's collector of starts, stops and deletions, too.
No token and nothing of what a program printed is ever in it.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from ptyshipper.backend.faults import where

NAME = "ptyshipper.backend"
_FIELDS = "ptyshipper_fields"


def told(**fields: Any) -> dict[str, Any]:
    """Facts beside a message, as in ``log.info("stopping", extra=told(shippers=3))``: they are fields of
    their own in JSON."""
    return {_FIELDS: fields}


class TextFormatter(logging.Formatter):
    """``ptyshipper: message (fact 1, another x)``; a count of 0 is left out."""

    def format(self, record: logging.LogRecord) -> str:
        facts = ", ".join(
            f"{name.replace('_', ' ')} {value}"
            for name, value in _facts(record).items()
            if value != 0
        )
        return f"ptyshipper: {_message(record)}" + (f" ({facts})" if facts else "")


class JsonFormatter(logging.Formatter):
    """An object a line: ``time`` (RFC 3339, UTC), ``level``, ``message``, ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return json.dumps(
            {
                "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": record.levelname.lower(),
                "message": _message(record),
                "fields": _facts(record),
            },
            default=str,
        )


_FORMATS: dict[str, tuple[type[logging.Formatter], int]] = {
    "text": (TextFormatter, logging.WARNING),
    "json": (JsonFormatter, logging.INFO),
}


def begin(log_format: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Log in this form from now on."""
    formatter, level = _FORMATS[log_format]
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(formatter())
    log = logging.getLogger(NAME)
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    # uvicorn tells of every malformed request, which anybody on the network may send.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, _FIELDS, {})
    return facts


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        message += f": {where(record.exc_info[1])}"
    return message
