"""The ingest's path, for who does not ask for a WebSocket there: a table of what is answered."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.ingest.post import MAX_HOSTNAME_CHARACTERS, MAX_ID, MAX_LINES, TYPES
from ptyshipper.backend.ingest.posts import Posts
from ptyshipper.backend.viewers.answers import refusal
from ptyshipper.backend.viewers.openapi import Answer, Operation, refused
from ptyshipper.wire.paths import INGEST_PATH

_LINE: dict[str, Any] = {
    "type": "object",
    "required": ["content", "stream", "timestamp"],
    "properties": {
        "content": {"type": "string"},
        "stream": {"type": "string", "enum": ["stdout", "stderr"]},
        "timestamp": {
            "type": "integer",
            "minimum": -(2**53),
            "maximum": 2**53,
            "description": "milliseconds since 1970",
        },
    },
}
_POST: dict[str, Any] = {
    "type": "object",
    "required": ["type", "deploymentId", "hostname", "lines"],
    "properties": {
        "type": {"type": "string", "enum": list(TYPES)},
        "deploymentId": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
        "hostname": {"type": "string", "minLength": 1, "maxLength": MAX_HOSTNAME_CHARACTERS},
        "lines": {"type": "array", "maxItems": MAX_LINES, "items": _LINE},
    },
}
_ANSWERS = {
    204: "stored",
    400: "no such post",
    403: "no token, or not this deployment's",
    413: "over 1 MiB, inflated",
    429: "too much in too short a time; come again after Retry-After seconds",
    503: "the store can't write at the moment",
}


def operations(posts: Posts) -> list[Operation]:
    """Posts of lines, and a hint for who gets there otherwise."""

    async def upgrade_required(_: Request) -> Response:
        headers = {"upgrade": "websocket", "connection": "upgrade"}
        return refusal(HTTPStatus.UPGRADE_REQUIRED, "open a WebSocket here", headers)

    return [
        Operation(
            INGEST_PATH,
            "The shippers' WebSocket, for who does not ask for one",
            upgrade_required,
            refused(HTTPStatus.UPGRADE_REQUIRED),
            security=(),
        ),
        Operation(
            INGEST_PATH,
            "Lines of a pod, as AnvilOps takes them",
            posts.__call__,
            {status: Answer(meaning, None) for status, meaning in _ANSWERS.items()},
            method="POST",
            body=Answer("a post", schema=_POST),
            security=("ingest",),
        ),
    ]
