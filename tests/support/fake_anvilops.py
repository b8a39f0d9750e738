"""AnvilOps' HTTP ingest as it stands, as far as a client can tell: a real server on a real port.

What it answers to which input was tried against the real one (AnvilOps 0.5):

=====================================================================  =================================
input                                                                  answer
=====================================================================  =================================
valid; chunked; gzip or deflate; properties that it does not know      204
wrong token, another app's token, unknown deployment                   403, empty body
no Authorization header, ``Basic …``, ``bearer`` in small letters      400
bad, empty or missing type, bad stream, missing field                  400
no JSON content type, no JSON, empty body                              400
one bad line in a batch                                                400, nothing of it stored
no lines                                                               204, nothing stored
a timestamp that is no integer / 0 or negative / year 10000            400 / 204 / 500, nothing stored
a NUL or a lone surrogate in any line                                  500, nothing stored
control and ESC characters, newlines, a trailing CR                    204, kept as they are
a body of 102,400 bytes / of one more, after inflation                 204 / 500, nothing stored
the same post twice                                                    stored twice
GET, also one that asks for an upgrade                                 405
idle for 5 s                                                           the connection is closed
=====================================================================  =================================

A 500 may also come though all was stored. ``faults`` make it, and what else may go wrong, happen.
"""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

import h11

from tests.support.fake_backend import FakeBackend, Peer, behave

TOKEN = "an-app-s-token"
DEPLOYMENT_ID = 7
MAX_BODY_BYTES = 102_400
KEEP_ALIVE_S = 5.0
YEAR_10000_MS = 253_402_300_800_000

POST_MS, LINE_MS = 3.9, 0.079
"""What the real one takes: 4 ms for a line, 13 for 100, 43 for 500; one post at a time."""


class Row(NamedTuple):
    """A stored line, in the order of storing. ``arrived_s`` is monotonic."""

    post: int
    index: int
    timestamp: int
    content: str
    stream: str
    hostname: str
    log_type: str
    arrived_s: float


class Request(NamedTuple):
    """A request that was read whole. ``connection`` counts from 0."""

    connection: int
    method: str
    headers: dict[str, str]
    body: bytes
    line_count: int
    status: int
    arrived_s: float


class Fault(Enum):
    """What goes wrong with one request, instead of its answer."""

    STORED_BUT_500 = "stored but 500"
    HANG = "hang"  # until the server stops, nothing stored
    CUT = "cut"  # the connection, nothing stored


class Answer(NamedTuple):
    """A status instead of what the request deserves; nothing is stored."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class Raw(NamedTuple):
    """These bytes instead of an answer, then ``again`` for as long as somebody reads, each after
    ``pause_s``; then the connection is closed. Nothing is stored."""

    name: str
    first: bytes
    again: bytes = b""
    pause_s: float = 0.0

    def __str__(self) -> str:
        return self.name


CUT_IN_MID_ANSWER = Raw("cut in mid answer", b"HTTP/1.1 204 No")
NO_HTTP = Raw("no HTTP", b"\x00\xff no HTTP\r\n\r\n")
ENDLESS_BODY = Raw(
    "endless body",
    b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"400\r\n" + b"x" * 1024 + b"\r\n",
)
ENDLESS_CHUNK_HEADS = Raw(
    "endless chunk heads",
    b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"1;" + b"x" * 8_000 + b"\r\nx\r\n",
)
ENDLESS_HEAD = Raw("endless head", b"HTTP/1.1 204 No\r\n", b"x: " + b"x" * 1021 + b"\r\n")
ENDLESS_CONTINUES = Raw("endless continues", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40)
SLOW_DRIP = Raw("slow drip", b"HTTP/1.1 204 No\r\n", b"x: x\r\n", pause_s=0.05)
UPGRADED = Raw("upgraded", b"HTTP/1.1 101 Yes\r\nUpgrade: else\r\nConnection: upgrade\r\n\r\n")


class FakeAnvilOps:
    """``rows`` is what is stored, ``requests`` what was asked.

    Args:
        port: 0 for any.
        keep_alive_s: what an idle connection is closed after.
        real_speed: take as long as the real one.
        websocket: who takes upgrades; None: nobody, as in the real one.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keep_alive_s: float = KEEP_ALIVE_S,
        real_speed: bool = False,
        websocket: FakeBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rows: list[Row] = []
        self.requests: list[Request] = []
        self.faults: deque[Fault | Answer | Raw | None] = deque()
        self.broken: Fault | Answer | Raw | None = None
        """Instead of every answer, for as long as it is set."""
        self.poison: Callable[[str], bool] = lambda content: False
        self.unasked = b""
        """What comes behind every answer, though nobody asked for it."""
        self.most_in_flight = 0
        self.idle_closes = 0
        self.websocket = websocket
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()
        self._keep_alive_s = keep_alive_s
        self._real_speed = real_speed
        self._tls = tls
        self.in_flight = 0
        self._posts = 0
        self._connections = 0
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/api/logs/ingest"

    def __enter__(self) -> FakeAnvilOps:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything; raise what went wrong in here."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self.lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)
        for error in self.errors:
            raise error

    def close_idle(self) -> None:
        """Close every connection, as a server that is restarted does, and say nothing."""
        with self.lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        return self._connections

    @property
    def open_connections(self) -> int:
        """Those whose requests, if any, may still be answered."""
        with self.lock:
            return len(self._open)

    @property
    def posts(self) -> list[Request]:
        """Those that had lines and were answered with 204."""
        return [
            request for request in self.requests if request.line_count and request.status == 204
        ]

    def shown(self, stream: str | None = None) -> list[str]:
        """The contents as a page shows them: by timestamp, then by index, then as stored."""
        rows = sorted(self.rows, key=lambda row: (row.timestamp, row.index))
        return [row.content for row in rows if stream in (None, row.stream)]

    def check_order(self) -> None:
        """Timestamps never decrease, and no two posts share one."""
        last_ms: dict[str, int] = {}
        owner: dict[tuple[str, int], int] = {}
        for row in self.rows:
            assert row.timestamp >= last_ms.get(row.hostname, 0), row
            last_ms[row.hostname] = row.timestamp
            assert owner.setdefault((row.hostname, row.timestamp), row.post) == row.post, row

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self._open.add(sock)
                number, self._connections = self._connections, self._connections + 1
            thread = threading.Thread(target=self._run, args=(sock, number), daemon=True)
            if number % 100 == 0:
                self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                secure = self._tls.wrap_socket(sock, server_side=True)
                with self.lock:
                    self._open.discard(sock)
                    self._open.add(secure)
                sock = secure
            self._serve(sock, number)
        except (OSError, h11.RemoteProtocolError):
            pass  # the other side went away, which is what many tests are about
        except BaseException as error:
            self.errors.append(error)
        finally:
            with self.lock:
                self._open.discard(sock)
            sock.close()

    def _serve(self, sock: socket.socket, number: int) -> None:
        """The requests of one connection, one after the other."""
        http = h11.Connection(h11.SERVER)
        while True:
            read = self._read_request(sock, http)
            if read is None:
                return
            request, body, raw = read
            headers = {k.decode(): v.decode() for k, v in request.headers}
            if "upgrade" in headers and self.websocket is not None:
                peer = Peer(sock, self.websocket)
                peer.request_head = raw
                behave(peer)
                return
            goes_on = self._respond(sock, http, number, request.method.decode(), headers, body)
            if not goes_on or http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()

    def _read_request(
        self, sock: socket.socket, http: h11.Connection
    ) -> tuple[h11.Request, bytes, bytes] | None:
        """The next request, or None where there is none within the keep-alive."""
        request: h11.Request | None = None
        body, raw = b"", b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                idle = request is None and not raw
                if idle and not select.select([sock], [], [], self._keep_alive_s)[0]:
                    self.idle_closes += 1
                    return None
                data = sock.recv(65_536)
                raw += data if request is None else b""
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
                expects = (b"expect", b"100-continue") in list(request.headers)
                if expects:
                    sock.sendall(http.send(h11.InformationalResponse(status_code=100, headers=[])))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body, raw
            else:
                return None

    def _respond(
        self,
        sock: socket.socket,
        http: h11.Connection,
        number: int,
        method: str,
        headers: dict[str, str],
        body: bytes,
    ) -> bool:
        """Answer, or do worse; whether the connection goes on."""
        arrived_s = time.monotonic()
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            fault = self.broken
            if fault is None and self.faults and method == "POST":
                fault = self.faults.popleft()
            stores = fault in (None, Fault.STORED_BUT_500)
            status, lines = self._judge(method, headers, body)
            if isinstance(fault, Answer):
                status = fault.status
            elif fault is Fault.STORED_BUT_500 and status == 204:
                status = 500
            elif isinstance(fault, Raw):
                status = 0
            self.requests.append(
                Request(number, method, headers, body, len(lines), status, arrived_s)
            )
            if stores and lines:
                value = json.loads(_inflated(headers, body))
                for index, line in enumerate(lines):
                    self.rows.append(
                        Row(self._posts, index, line["timestamp"], line["content"], line["stream"],
                            value["hostname"], value["type"], arrived_s)
                    )  # fmt: skip
                self._posts += 1
        if self._real_speed:
            left_s = (POST_MS + LINE_MS * len(lines)) / 1000 - (time.monotonic() - arrived_s)
            time.sleep(max(0.0, left_s))
        if fault is Fault.HANG:
            self._closing.wait(60)
        with self.lock:
            self.in_flight -= 1  # before the answer, upon which the next may come
        if fault in (Fault.HANG, Fault.CUT):
            return False
        if isinstance(fault, Raw):
            sock.sendall(fault.first)
            while fault.again and not self._closing.wait(fault.pause_s):
                sock.sendall(fault.again)
            return False
        sent = list(fault.headers) if isinstance(fault, Answer) else []
        sent.append(("Keep-Alive", f"timeout={int(self._keep_alive_s)}"))
        if status != 204:
            sent.append(("Content-Length", "0"))
        response = h11.Response(status_code=status, headers=sent)
        answer = (http.send(response) or b"") + (http.send(h11.EndOfMessage()) or b"")
        sock.sendall(answer + self.unasked)
        return True

    def _judge(
        self, method: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[dict[str, Any]]]:
        """The status that a request deserves, and the lines to store, if any."""
        if method != "POST":
            return 405, []
        text = _inflated(headers, body)
        if len(text) > MAX_BODY_BYTES:
            return 500, []
        authorization = headers.get("authorization", "")
        if not authorization.startswith("Bearer "):
            return 400, []
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 400, []
        try:
            value = json.loads(text)
        except ValueError:
            return 400, []
        if not _is_valid(value):
            return 400, []
        if authorization != f"Bearer {TOKEN}" or value["deploymentId"] != DEPLOYMENT_ID:
            return 403, []
        lines = value["lines"]
        for line in lines:
            content = line["content"]
            surrogates = any("\ud800" <= char <= "\udfff" for char in content)
            if "\0" in content or surrogates or line["timestamp"] >= YEAR_10000_MS:
                return 500, []
            if self.poison(content):
                return 500, []
        return 204, lines


def _inflated(headers: dict[str, str], body: bytes) -> bytes:
    match headers.get("content-encoding"):
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


def _is_valid(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") in ("build", "runtime")
        and type(value.get("deploymentId")) is int
        and isinstance(value.get("hostname"), str)
        and isinstance(value.get("lines"), list)
        and all(
            isinstance(line, dict)
            and isinstance(line.get("content"), str)
            and line.get("stream") in ("stdout", "stderr")
            and type(line.get("timestamp")) is int
            for line in value["lines"]
        )
    )
