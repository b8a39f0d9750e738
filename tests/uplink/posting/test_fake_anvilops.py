"""The fake is as strict as the real one: each row of its table."""

from __future__ import annotations

import gzip
import http.client
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fake_anvilops import (
    DEPLOYMENT_ID,
    MAX_BODY_BYTES,
    TOKEN,
    YEAR_10000_MS,
    FakeAnvilOps,
    Fault,
)

BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
LINE = {"content": "x", "stream": "stdout", "timestamp": 1}


@pytest.fixture
def fake() -> Iterator[FakeAnvilOps]:
    with FakeAnvilOps() as fake:
        yield fake


def body(*lines: Any, **more: Any) -> bytes:
    value = {"type": "runtime", "deploymentId": DEPLOYMENT_ID, "hostname": "pod", "lines": lines}
    value |= more
    return json.dumps({key: each for key, each in value.items() if each != "missing"}).encode()


def ask(
    fake: FakeAnvilOps, content: Any, headers: dict[str, str] = BEARER, method: str = "POST"
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=10)
    connection.request(method, "/api/logs/ingest", content, headers)
    response = connection.getresponse()
    assert response.read() == b""
    connection.close()
    return response.status


def padded(size: int) -> bytes:
    text = body({**LINE, "content": ""})
    return text.replace(b'""', b'"' + b"x" * (size - len(text)) + b'"', 1)


TAKEN = [
    body(LINE),
    body(LINE, type="build"),
    body({**LINE, "more": 1}, more=2),
    body({**LINE, "timestamp": 0}, {**LINE, "timestamp": -5, "stream": "stderr"}),
    body({**LINE, "content": "\x01\x1b[0m two\nlines\r"}),
    padded(MAX_BODY_BYTES),
]
STATUSES = [
    (400, body(LINE, type="other")),
    (400, body(LINE, type="missing")),
    (400, body(LINE, hostname="missing")),
    (400, body(LINE, {**LINE, "stream": "tty"})),
    (400, body(LINE, {"content": "x"})),
    (400, body({**LINE, "timestamp": 1.5})),
    (400, b""),
    (400, b"{"),
    (403, body(LINE, deploymentId=8)),
    (500, body({**LINE, "timestamp": YEAR_10000_MS})),
    (500, body(LINE, {**LINE, "content": "a\0b"})),
    (500, body(LINE, {**LINE, "content": "a\ud800b"})),
    (500, padded(MAX_BODY_BYTES + 1)),
]


@pytest.mark.parametrize("content", TAKEN)
def test_what_is_taken(fake: FakeAnvilOps, content: bytes) -> None:
    assert ask(fake, content) == 204
    stored = [(row.content, row.stream, row.timestamp) for row in fake.rows]
    sent = json.loads(content)["lines"]
    assert stored == [(line["content"], line["stream"], line["timestamp"]) for line in sent]


@pytest.mark.parametrize(("status", "content"), STATUSES)
def test_what_is_refused_stores_nothing(fake: FakeAnvilOps, status: int, content: bytes) -> None:
    assert ask(fake, content) == status
    assert fake.rows == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"Content-Type": "application/json"}),
        (400, BEARER | {"Authorization": f"Basic {TOKEN}"}),
        (400, BEARER | {"Authorization": f"bearer {TOKEN}"}),
        (400, {"Authorization": f"Bearer {TOKEN}"}),
        (403, BEARER | {"Authorization": "Bearer another"}),
    ],
)
def test_who_is_refused(fake: FakeAnvilOps, status: int, headers: dict[str, str]) -> None:
    assert ask(fake, body(LINE), headers) == status
    assert fake.rows == []


def test_encodings_and_the_limit_after_inflation(fake: FakeAnvilOps) -> None:
    for name, encode in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        headers = BEARER | {"Content-Encoding": name}
        assert ask(fake, encode(body(LINE)), headers) == 204
        assert ask(fake, encode(padded(MAX_BODY_BYTES + 1)), headers) == 500
    assert ask(fake, iter([body(LINE)])) == 204  # chunked
    assert len(fake.rows) == 3


def test_what_is_no_post_what_is_empty_and_what_comes_twice(fake: FakeAnvilOps) -> None:
    assert ask(fake, None, {"Connection": "Upgrade", "Upgrade": "websocket"}, "GET") == 405
    assert ask(fake, body()) == 204
    assert fake.rows == []
    assert (ask(fake, body(LINE)), ask(fake, body(LINE))) == (204, 204)
    assert len(fake.rows) == 2


def test_faults(fake: FakeAnvilOps) -> None:
    fake.faults.append(Fault.STORED_BUT_500)
    assert ask(fake, body(LINE)) == 500
    assert len(fake.rows) == 1
    fake.faults.append(Fault.CUT)
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(fake, body(LINE))
    fake.poison = lambda content: content == "bad"
    assert ask(fake, body(LINE, {**LINE, "content": "bad"})) == 500
    assert len(fake.rows) == 1


def test_an_idle_connection_is_closed() -> None:
    with FakeAnvilOps(keep_alive_s=0.1) as fake:
        connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=10)
        connection.request("POST", "/", body(LINE), BEARER)
        connection.getresponse().read()
        began_s = time.monotonic()
        assert connection.sock.recv(1) == b""
        assert time.monotonic() - began_s < 5
        assert fake.idle_closes == 1
        connection.close()
