"""What uvicorn leaves to a proxy: requests without an end, or more connections than descriptors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.server import Server


@contextmanager
def raw_connection(server: Server) -> Iterator[socket.socket]:
    host, port = server.state.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        yield connection


def closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65_536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    return True


def test_request_without_an_end_is_cut_off(server: Server) -> None:
    """After 64 KiB of headers; the backend goes on."""
    with raw_connection(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-Header: " + b"x" * 2_000 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert closed(connection)
    assert server.get("/healthz")[0] == 200


def test_what_is_no_http_is_refused_without_a_word_in_the_log(server: Server) -> None:
    with raw_connection(server) as connection:
        connection.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
        assert b" 400 " in connection.recv(4_096)
    assert server.log_path.read_text() == ""
