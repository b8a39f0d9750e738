"""A real backend as a process of its own, and the two peers it talks to, for tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from ptyshipper import statefile
from ptyshipper.records import Kind, encode, exited, started
from ptyshipper.wire import messages

REPOSITORY = Path(__file__).resolve().parents[2]
START_WITHIN_S = 15.0
_SERVE = (
    "import json, sys; from ptyshipper.backend.app import serve;"
    "from ptyshipper.serve_config import serve_settings;"
    "serve(serve_settings({}, json.loads(sys.argv[1])), announce=print)"
)


class Server:
    """A backend on a port of its own; ``kill`` and ``start`` again as often as a test likes.

    ``flags`` are settings as they are written on a command line, by their names.
    """

    def __init__(self, data_dir: Path, **flags: str) -> None:
        self.data_dir = data_dir
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.state = statefile.ServerState("", "", "", 0)
        self._port = 0

    def start(self, *, preamble: str = "") -> None:
        """Start it, on the same port as before; ``preamble`` is Python that runs in it first."""
        flags = {"port": str(self._port), "data_dir": str(self.data_dir), **self.flags}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", preamble + _SERVE, json.dumps(flags)],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            state = statefile.read(self.data_dir)
            if state is not None and state.pid == self.process.pid:
                break
            assert self.process.poll() is None, self.log_path.read_text()
            assert time.monotonic() < deadline, "the backend did not start"
            time.sleep(0.01)
        self.state = state
        self._port = urlsplit(state.url).port or 0

    @property
    def log_path(self) -> Path:
        return self.data_dir.parent / "server.log"

    @property
    def ws_url(self) -> str:
        return self.state.url.replace("http", "ws", 1)

    def kill(self) -> None:
        """As the kernel's out-of-memory killer does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As a person or an orchestrator does; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process = None
        return status

    def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """Status and decoded body of a GET with the view token, or another."""
        address = urlsplit(self.state.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
        bearer = self.state.view_token if token is None else token
        connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(body) if is_json else body.decode()

    def connect(
        self,
        token: str | None = None,
        subprotocol: str | None = messages.SHIPPER_SUBPROTOCOL,
        path: str = "/api/logs/ingest",
    ) -> ClientConnection:
        """A WebSocket, upgraded."""
        bearer = self.state.ingest_token if token is None else token
        # Entered, or websockets 17 warns that connect() will be something else one day.
        return connect(
            self.ws_url + path,
            additional_headers={"Authorization": f"Bearer {bearer}"},
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            compression=None,
            proxy=None,
            max_size=None,
            open_timeout=10,
            close_timeout=5,
        ).__enter__()

    def view(self, session_id: bytes, offset: int = 0, follow: bool = False) -> ClientConnection:
        """A viewer's WebSocket."""
        path = f"/api/sessions/{session_id.hex()}/records?from={offset}&follow={int(follow)}"
        return self.connect(self.state.view_token, messages.VIEWER_SUBPROTOCOL, path)

    def records(self, session_id: bytes, offset: int = 0) -> bytes:
        """All that is stored of a session, checked for gaps and repetitions."""
        with self.view(session_id, offset) as viewer:
            return read_to_summary(viewer, offset)[0]


def read_to_summary(viewer: ClientConnection, offset: int = 0) -> tuple[bytes, dict[str, Any]]:
    """Everything a viewer is sent. Gap records would need their span counted: none may come."""
    parts = []
    while True:
        raw = viewer.recv(20)
        assert isinstance(raw, bytes)
        message = messages.read_viewer_message(raw)
        if isinstance(message, messages.Summary):
            return b"".join(parts), message.session
        assert message.offset == offset, f"a batch at {message.offset}, {offset} was next"
        parts.append(message.records)
        offset += len(message.records)


class Shipper:
    """A shipper's end of the wire, one step at a time."""

    def __init__(
        self, server: Server, session_id: bytes, token: str | None = None, **description: Any
    ) -> None:
        self.session_id = session_id
        self.socket = server.connect(token)
        self.socket.send(messages.hello(session_id, describe(**description)))
        try:
            welcome = self.expect()
        except ConnectionClosed:
            self.socket.close()
            raise
        assert isinstance(welcome, messages.Welcome)
        self.offset = self._acknowledged_offset = welcome.offset
        self.window_bytes = welcome.window_bytes

    def expect(self) -> messages.BackendMessage:
        """The next message of the backend."""
        message = self.socket.recv(20)
        assert isinstance(message, bytes)
        return messages.read_backend_message(message)

    def send(self, records: bytes) -> None:
        self.socket.send(messages.batch(self.offset, records))
        self.offset += len(records)

    def wait_acknowledged(self) -> None:
        """Until everything sent is durable."""
        while self._acknowledged_offset != self.offset:
            message = self.expect()
            assert isinstance(message, messages.Ack)
            self._acknowledged_offset = message.offset

    def ship(self, records: bytes) -> None:
        self.send(records)
        self.wait_acknowledged()

    def say_goodbye(self, reason: messages.ByeReason) -> None:
        """BYE, and the backend's close."""
        self.socket.send(messages.bye(reason))
        self.socket.close()


def describe(**fields: Any) -> dict[str, Any]:
    """A HELLO's description, with these fields in place of the usual ones."""
    return {
        "deployment_id": 7,
        "type": "runtime",
        "hostname": "web-0",
        "command": ["echo", "hi"],
        "tty": False,
        "started_at_us": 1_700_000_000_000_000,
        "client": "test/1",
        **fields,
    }


def start_record(cols: int = 80, rows: int = 24) -> bytes:
    return encode(Kind.STARTED, 0, started(1_700_000_000_000_000, cols, rows, 0))


def output(text: bytes, kind: Kind = Kind.STDOUT, time_us: int = 1_000) -> bytes:
    """One record of output."""
    return encode(kind, time_us, text)


def exit_record(code: int = 0, signal_number: int = 0, time_us: int = 2_500_000) -> bytes:
    return encode(Kind.EXITED, time_us, exited(code, signal_number, False))


@contextmanager
def running_server(tmp_path: Path, *, preamble: str = "", **flags: str) -> Iterator[Server]:
    """A started backend, killed at the end if the test has not ended it."""
    server = Server(tmp_path / "data", **flags)
    server.start(preamble=preamble)
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()
