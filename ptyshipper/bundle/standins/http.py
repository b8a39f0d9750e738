"""In place of ``http``: a status is a number; websockets names its class in a type."""

from __future__ import annotations

HTTPStatus = int
