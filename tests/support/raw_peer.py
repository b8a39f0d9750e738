"""Peers of a backend that do not behave as a WebSocket library would."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ptyshipper.wire import messages
from tests.support.server import Server


@contextmanager
def raw_connection(server: Server) -> Iterator[socket.socket]:
    host, port = server.state.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        yield connection


@contextmanager
def unread_viewer(server: Server, session_id: bytes) -> Iterator[socket.socket]:
    """An upgraded viewer's connection of which nothing was read behind the upgrade."""
    with raw_connection(server) as connection:
        connection.sendall(
            f"GET /api/sessions/{session_id.hex()}/records?follow=1 HTTP/1.1\r\nHost: x\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Sec-WebSocket-Protocol: {messages.VIEWER_SUBPROTOCOL}\r\n"
            f"Authorization: Bearer {server.state.view_token}\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection
