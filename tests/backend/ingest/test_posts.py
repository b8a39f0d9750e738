"""The endpoint for older shippers, as AnvilOps answers them: the table of its ingest, row by row."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import threading
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed

from ptyshipper.backend.ingest.post import read_post
from ptyshipper.backend.ingest.posts import MAX_BODY_BYTES
from ptyshipper.records import Kind, decode
from tests.support.server import Server, Shipper, running_server, start_record
from tests.support.stored import fresh_deployment_id, sessions_of

PATH = "/api/logs/ingest"
NOW_MS = 1_700_000_000_000
TOKEN = object()


def body(deployment_id: int, *contents: str, **fields: Any) -> bytes:
    lines = [
        {"content": content, "stream": "stdout", "timestamp": NOW_MS + at}
        for at, content in enumerate(contents)
    ]
    made = {"type": "runtime", "deploymentId": deployment_id, "hostname": "web-0", "lines": lines}
    return json.dumps({**made, **fields}).encode()


def send(
    server: Server,
    content: bytes,
    *,
    authorization: object = TOKEN,
    media_type: str | None = "application/json",
    encoding: str | None = None,
    chunked: bool = False,
) -> int:
    """The status that a post gets."""
    address = urlsplit(server.state.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    if authorization is TOKEN:
        authorization = f"Bearer {server.state.ingest_token}"
    headers = {
        "Authorization": authorization,
        "Content-Type": media_type,
        "Content-Encoding": encoding,
    }
    given = {name: str(value) for name, value in headers.items() if value is not None}
    parts = iter([content[:10], content[10:]]) if chunked else content
    connection.request("POST", PATH, parts, given, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.read() == b""
    connection.close()
    return response.status


def stored_lines(server: Server, deployment_id: int) -> list[bytes]:
    (session,) = sessions_of(server, deployment_id)
    records = server.records(bytes.fromhex(session["id"]))
    payloads = [record.payload for record in decode(records) if record.kind == Kind.STDOUT]
    return b"".join(payloads).splitlines()


def test_lines_are_stored_before_the_answer(server: Server) -> None:
    """In order, over several posts; the session is one of posts, and runs."""
    deployment_id = fresh_deployment_id()
    for at in range(3):
        assert send(server, body(deployment_id, f"a{at}", f"b{at}")) == 204
        expected = [f"{x}{y}".encode() for y in range(at + 1) for x in "ab"]
        assert stored_lines(server, deployment_id) == expected
    (session,) = sessions_of(server, deployment_id)
    assert session["id"] == read_post(body(deployment_id)).session_id.hex()
    assert (session["state"], session["hostname"], session["entries"]) == ("running", "web-0", 6)


def test_times_never_go_back_not_even_over_a_restart(tmp_path: Path) -> None:
    """A container that starts anew in its pod may have a clock that was set."""
    deployment_id, times_ms = fresh_deployment_id(), (NOW_MS, NOW_MS + 9_000, NOW_MS + 4_000)

    def post(server: Server, time_ms: int) -> None:
        line = {"content": "x", "stream": "stdout", "timestamp": time_ms}
        assert send(server, body(deployment_id, lines=[line])) == 204

    with running_server(tmp_path) as server:
        for time_ms in times_ms:
            post(server, time_ms)
        server.stop()
        server.start()
        post(server, NOW_MS + 1_000)
        (session,) = sessions_of(server, deployment_id)
        found = [each.time_us for each in decode(server.records(bytes.fromhex(session["id"])))]
        assert found == [0, 0, 9_000_000, 9_000_000, 9_000_000]


def test_encodings_that_the_real_one_takes(server: Server) -> None:
    deployment_id = fresh_deployment_id()
    content = body(deployment_id, "x", surplus=1)
    assert send(server, content, chunked=True) == 204
    assert send(server, gzip.compress(content), encoding="gzip") == 204
    assert send(server, zlib.compress(content), encoding="deflate") == 204
    assert send(server, content, media_type="application/json; charset=utf-8") == 204
    assert stored_lines(server, deployment_id) == [b"x"] * 4


def test_refusals(server: Server) -> None:
    """Nothing of a refused post is stored."""
    deployment_id = fresh_deployment_id()
    content = body(deployment_id, "x")
    right = f"Bearer {server.state.ingest_token}"
    statuses = {
        "no token": send(server, content, authorization=None),
        "basic": send(server, content, authorization="Basic " + "x" * 20),
        "empty": send(server, content, authorization="Bearer "),
        "wrong": send(server, content, authorization="Bearer " + "x" * 20),
        "a reader's": send(server, content, authorization=f"Bearer {server.state.view_token}"),
        "no JSON": send(server, b"{"),
        "no media type": send(server, content, media_type=None),
        "form": send(server, content, media_type="application/x-www-form-urlencoded"),
        "no such encoding": send(server, content, encoding="br"),
        "not inflatable": send(server, content, encoding="gzip"),
        "bad line": send(server, body(deployment_id, "x", lines=[1])),
        "too large": send(server, body(deployment_id, "x" * MAX_BODY_BYTES)),
        "bomb": send(server, gzip.compress(bytes(50 * MAX_BODY_BYTES)), encoding="gzip"),
    }
    assert statuses == {
        "no token": 403,
        "basic": 403,
        "empty": 403,
        "wrong": 403,
        "a reader's": 403,
        "no JSON": 400,
        "no media type": 400,
        "form": 400,
        "no such encoding": 400,
        "not inflatable": 400,
        "bad line": 400,
        "too large": 413,
        "bomb": 413,
    }
    assert sessions_of(server, deployment_id) == []
    assert send(server, content, authorization=right) == 204


def test_empty_post_is_taken_and_makes_no_session(server: Server) -> None:
    deployment_id = fresh_deployment_id()
    assert send(server, body(deployment_id)) == 204
    assert sessions_of(server, deployment_id) == []


def test_poison_of_the_real_one_is_stored(server: Server) -> None:
    """A NUL, half a surrogate pair, the year 10000: it answers 500 to them."""
    deployment_id = fresh_deployment_id()
    assert send(server, body(deployment_id, "a\0b", "c\ud800d")) == 204
    assert stored_lines(server, deployment_id) == [b"a\0b", b"c?d"]


def test_posts_at_once_are_stored_once_each(server: Server) -> None:
    """Whole: lines of one are not between those of another."""
    deployment_id = fresh_deployment_id()
    statuses = list[int]()

    def post(number: int) -> None:
        statuses.append(send(server, body(deployment_id, *[f"{number}"] * 50)))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [204] * 8
    lines = stored_lines(server, deployment_id)
    groups = [lines[at : at + 50] for at in range(0, len(lines), 50)]
    assert sorted(groups) == [[str(number).encode()] * 50 for number in range(8)]


@pytest.mark.parametrize("deployment_id", [8, None])
def test_session_of_another_deployment_can_not_be_taken(
    server: Server, deployment_id: int | None
) -> None:
    """Its id is no secret among those who may ship: 4403, and it goes on undisturbed."""
    session_id = os.urandom(16)
    owner = Shipper(server, session_id, deployment_id=7)
    with pytest.raises(ConnectionClosed, match="4403"):
        Shipper(server, session_id, deployment_id=deployment_id)
    owner.ship(start_record())
    owner.socket.close()


def test_session_of_posts_can_not_be_taken_by_a_shipper(server: Server) -> None:
    """Its id can be computed by anybody, also before the first post: by whoever wants to keep it out."""
    deployment_id = fresh_deployment_id()
    session_id = read_post(body(deployment_id)).session_id
    for other in (deployment_id, deployment_id + 1):
        with pytest.raises(ConnectionClosed, match="4403"):
            Shipper(server, session_id, deployment_id=other)
    assert send(server, body(deployment_id, "x")) == 204
    with pytest.raises(ConnectionClosed, match="4403"):
        Shipper(server, session_id, deployment_id=deployment_id)
    assert send(server, body(deployment_id, "y")) == 204
    assert stored_lines(server, deployment_id) == [b"x", b"y"]


def test_a_deployment_over_its_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    """And what was refused is not stored."""
    with running_server(tmp_path, max_rate_bytes_per_s="2K") as server:
        deployment_id, line = fresh_deployment_id(), "x" * 4_000
        statuses = [send(server, body(deployment_id, line)) for _ in range(6)]
        taken = statuses.count(204)
        assert 2 <= taken < 6
        assert set(statuses) == {204, 429}
        assert stored_lines(server, deployment_id) == [line.encode()] * taken
        assert send(server, body(fresh_deployment_id(), line)) == 204


FULL_OF_POSTS = "from ptyshipper.backend.ingest import posts\nposts.HELD_BYTES = 1000\n"


def test_posts_that_would_fill_the_memory_are_told_to_come_again(tmp_path: Path) -> None:
    """Before they are read."""
    with running_server(tmp_path, preamble=FULL_OF_POSTS) as server:
        assert send(server, body(fresh_deployment_id(), "x")) == 503
