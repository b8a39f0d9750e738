"""The client: finds the backend, says what is wrong in one line, outlives a restart."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptyshipper import statefile
from ptyshipper.errors import BackendError, UsageError
from ptyshipper.records import Record
from ptyshipper.statefile import ServerState
from ptyshipper.view import client
from ptyshipper.view.client import Backend
from tests.support.server import Server, Shipper, exit_record, output, running_server


def told(data_dir: Path) -> str:
    """The one line that a person is told."""
    with pytest.raises(BackendError) as caught:
        Backend(data_dir).sessions(1)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_no_backend(tmp_path: Path) -> None:
    assert "start one with 'ptyshipper serve'" in told(tmp_path)


def test_backend_that_died(tmp_path: Path) -> None:
    """Its server.json is still there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    statefile.write(tmp_path, ServerState(f"http://127.0.0.1:{port}", "i", "v", 4242))
    line = told(tmp_path)
    assert "process 4242" in line
    assert "Connection refused" in line


def test_backend_with_other_tokens(server: Server, tmp_path: Path) -> None:
    statefile.write(tmp_path, ServerState(server.state.url, "i", "v", 1))
    assert "403" in told(tmp_path)
    with pytest.raises(BackendError, match="403"):
        list(Backend(tmp_path).records("0" * 32))


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """Something else that listens where the backend was."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as other:
        serving = threading.Thread(target=other.serve_forever)
        serving.start()
        try:
            yield other.server_address[1]
        finally:
            other.shutdown()
            serving.join()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"sessions": 5}'])
def test_something_else_answers(tmp_path: Path, body: bytes) -> None:
    with answering(body) as port:
        statefile.write(tmp_path, ServerState(f"http://127.0.0.1:{port}", "i", "v", 1))
        told(tmp_path)
        with pytest.raises(BackendError, match="no ptyshipper backend"):
            list(Backend(tmp_path).records("0" * 32))


def test_users_proxy_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is for this backend alone."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"x") + exit_record())
    assert Backend(server.data_dir).sessions(1)
    assert len(list(Backend(server.data_dir).records(shipper.session_id.hex()))) == 3
    shipper.socket.close()


def test_prefix_of_two_sessions_is_not_enough(server: Server) -> None:
    start = os.urandom(15)
    for last in (b"\x01", b"\x02"):
        shipper = Shipper(server, start + last)
        shipper.ship(output(b"x"))
        shipper.socket.close()
    backend = Backend(server.data_dir)
    with pytest.raises(UsageError, match="more than one"):
        backend.find(start.hex())
    assert backend.find(start.hex().upper() + "01")["id"] == start.hex() + "01"


def test_follower_outlives_a_restart(tmp_path: Path) -> None:
    """The backend is killed between two records; each comes once."""
    with running_server(tmp_path) as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(output(b"before"))
        following = Backend(server.data_dir).records(shipper.session_id.hex(), follow=True)
        first = next(following)
        server.kill()
        server.start()
        again = Shipper(server, shipper.session_id)
        again.ship(output(b"after") + exit_record())
        rest = list(following)
        assert isinstance(first, Record)
        assert first.payload == b"before"
        assert isinstance(rest[0], Record)
        assert rest[0].payload == b"after"
        assert isinstance(rest[2], dict)
        assert rest[2]["state"] == "exited"
        shipper.socket.close_timeout = 0
        for each in (shipper, again):
            each.socket.close()


def test_follower_outlives_an_ordinary_restart(tmp_path: Path) -> None:
    """A backend that stops takes its server.json away; for two seconds there is none."""
    with running_server(tmp_path) as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(output(b"before"))
        following = Backend(server.data_dir).records(shipper.session_id.hex(), follow=True)
        seen = [next(following)]
        assert server.stop() == 0
        starting = threading.Timer(2, server.start)
        starting.start()
        # The next record can only come from the next backend.
        shipping = threading.Thread(target=_ship_when_back, args=(server, starting, shipper))
        shipping.start()
        seen += following
        shipping.join()
        payloads = [item.payload for item in seen if isinstance(item, Record)]
        assert payloads[:-1] == [b"before", b"after"]
        assert isinstance(seen[-1], dict)
        shipper.socket.close()


def _ship_when_back(server: Server, starting: threading.Timer, earlier: Shipper) -> None:
    starting.join()
    again = Shipper(server, earlier.session_id)
    again.ship(output(b"after") + exit_record())
    again.socket.close()


def test_follower_waits_for_a_backend_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RECONNECT_WITHIN_S", 0.1)
    monkeypatch.setattr(client, "RECONNECT_EVERY_S", 0.02)
    with pytest.raises(BackendError, match="no backend runs"):
        list(Backend(tmp_path).records("0" * 32, follow=True))
