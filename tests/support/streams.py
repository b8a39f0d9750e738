"""Answers that are read while they are written: server-sent events, JSON lines, downloads."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.support.server import Server

READ_WITHIN_S = 20.0


class Event(NamedTuple):
    """One server-sent event; ``id`` None: it had none of its own."""

    name: str
    data: Any
    id: int | None


class Answer:
    """An answer whose body is still on its way."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers

    def lines(self) -> Iterator[bytes]:
        while line := self.response.readline():
            yield line

    def objects(self) -> Iterator[dict[str, Any]]:
        """JSON lines."""
        return map(json.loads, self.lines())

    def events(self) -> Iterator[Event]:
        """Server-sent events, without comments and the ``retry`` at the beginning."""
        fields = dict[str, str]()
        for line in self.lines():
            if line == b"\n":
                if "event" in fields:
                    number = int(fields["id"]) if "id" in fields else None
                    yield Event(fields["event"], json.loads(fields["data"]), number)
                fields = {}
            else:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                fields[name] = value


@contextmanager
def asked(server: Server, path: str, headers: dict[str, str] | None = None) -> Iterator[Answer]:
    """GET with the view token; the connection ends with the context."""
    address = urlsplit(server.state.url)
    connection = http.client.HTTPConnection(
        str(address.hostname), address.port, timeout=READ_WITHIN_S
    )
    bearer = {"Authorization": f"Bearer {server.state.view_token}"}
    connection.request("GET", path, headers={**bearer, **(headers or {})})
    response = connection.getresponse()
    try:
        yield Answer(response)
    finally:
        response.close()
        connection.close()
