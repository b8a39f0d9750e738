"""A backend that does as a test says: a real server on a real port, in a thread.

The default script is a good backend that keeps what it gets in ``sessions``. A test gives another
one, a function from the accepted connection to nothing, to misbehave in its own way.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from ptyshipper import records
from ptyshipper.wire import messages


class Session:
    """What the backend holds of one session, as records, and where that ends."""

    def __init__(self) -> None:
        self.offset = 0
        self.records: list[records.Record] = []
        self.offsets = [0]
        self.byes: list[int] = []
        self.description: dict[str, object] = {}

    def take(self, batch: messages.Batch) -> None:
        assert batch.offset == self.offset, "a batch must begin where the last one ended"
        for record in records.decode(batch.records):
            self.records.append(record)
            gap = record.kind == records.Kind.GAP
            span = records.read_gap(record.payload).span if gap else record.size
            self.offset += span
            self.offsets.append(self.offset)

    def forget(self, offset: int) -> None:
        """Lose everything behind ``offset``, rounded down, as after a power cut."""
        while self.offsets[-1] > max(offset, 0):
            self.offsets.pop()
            self.records.pop()
        self.offset = self.offsets[-1]

    def output(self) -> bytes:
        return b"".join(r.payload for r in self.records if r.kind in records.OUTPUT_KINDS)

    def gaps(self) -> list[records.Gap]:
        return [records.read_gap(r.payload) for r in self.records if r.kind == records.Kind.GAP]


class Peer:
    """One accepted connection, for a script."""

    def __init__(self, sock: socket.socket, backend: FakeBackend) -> None:
        self.socket = sock
        self.backend = backend
        self.request_head = b""
        self._protocol = ServerProtocol(
            subprotocols=[messages.SHIPPER_SUBPROTOCOL],  # type: ignore[list-item]
            max_size=messages.MAX_MESSAGE_BYTES,
        )
        self._received: list[bytes] = []

    def read_request(self) -> None:
        while b"\r\n\r\n" not in self.request_head:
            part = self.socket.recv(4096)
            if not part:
                raise ConnectionError
            self.request_head += part

    def answer(self, status: int, *headers: str, body: bytes = b"") -> None:
        """Refuse the upgrade."""
        self.read_request()
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + body)

    def accept(self) -> None:
        """Do the upgrade."""
        self.read_request()
        self._protocol.receive_data(self.request_head)
        (request,) = self._protocol.events_received()
        self._protocol.send_response(self._protocol.accept(request))  # type: ignore[arg-type]
        self._flush()

    def receive(self) -> bytes | None:
        """The next message; None at the end."""
        while not self._received:
            if self._protocol.state is not State.OPEN:
                return None
            data = self.socket.recv(65_536)
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._received += [
                bytes(event.data)
                for event in self._protocol.events_received()
                if isinstance(event, Frame) and event.opcode is Opcode.BINARY
            ]
            self._flush()
        return self._received.pop(0)

    def send(self, message: bytes) -> None:
        self._protocol.send_binary(message)
        self._flush()

    def ping(self) -> None:
        self._protocol.send_ping(b"are you there")
        self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code, and wait until the other side has read it."""
        self._protocol.send_close(code, reason)
        self._flush()
        with suppress(OSError):
            while data := self.socket.recv(65_536):
                self._protocol.receive_data(data)
                if self._protocol.state is State.CLOSED or self._protocol.close_rcvd:
                    break

    def welcome(self) -> Session:
        """Accept, read HELLO, answer WELCOME."""
        self.accept()
        message = self.receive()
        if message is None:
            raise ConnectionError
        hello = messages.read_shipper_message(message)
        assert isinstance(hello, messages.Hello)
        session = self.backend.sessions.setdefault(hello.session_id, Session())
        session.description = hello.description
        self.send(messages.welcome(session.offset, self.backend.window_bytes))
        return session

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.socket.sendall(data)


Script = Callable[[Peer], None]


def behave(peer: Peer) -> None:
    """The good backend."""
    serve_session(peer, peer.welcome())


def serve_session(peer: Peer, session: Session) -> None:
    """Take batches, acknowledge each, until BYE or the end."""
    while (raw := peer.receive()) is not None:
        message = messages.read_shipper_message(raw)
        match message:
            case messages.Batch():
                with peer.backend.lock:
                    session.take(message)
                peer.backend.batches += 1
                peer.send(messages.ack(session.offset))
            case messages.Bye():
                session.byes.append(message.reason)
                with suppress(OSError):
                    peer.close(1000)
                return


class FakeBackend:
    """``scripts`` are used up one a connection, the last of them for all that follow."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.scripts = list(scripts) or [behave]
        self.sessions: dict[bytes, Session] = {}
        self.window_bytes = 2**20
        self.attempts = 0
        self.batches = 0
        self.heads: list[bytes] = []
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/api/logs/ingest"

    def __enter__(self) -> FakeBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything; raise what a script raised."""
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for error in self.errors:
            raise error

    def cut(self) -> None:
        """Cut every open connection, as a kill -9 would."""
        with self.lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self._open.add(sock)
                self.attempts += 1
                script = self.scripts[0] if len(self.scripts) == 1 else self.scripts.pop(0)
            thread = threading.Thread(target=self._run, args=(script, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, sock: socket.socket) -> None:
        peer = None
        try:
            if self._tls is not None:
                secure = self._tls.wrap_socket(sock, server_side=True)
                with self.lock:
                    self._open.discard(sock)
                    self._open.add(secure)
                sock = secure
            peer = Peer(sock, self)
            script(peer)
        except (OSError, InvalidHandshake, InvalidMessage):
            pass  # the other side went away, which is what many tests are about
        except BaseException as error:
            self.errors.append(error)
        finally:
            if peer is not None:
                self.heads.append(peer.request_head)
            with self.lock:
                self._open.discard(sock)
            sock.close()


def wait_until(condition: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Poll until ``condition`` holds; False where it never did."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.002)
    return True
