"""One connection to a backend: a stream, the upgrade over it, then WebSocket messages.

Never blocks, but to resolve a name: it waits through the function that its owner gives it.
"""

from __future__ import annotations

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ptyshipper.uplink.outcomes import Outcome, Trouble, of_close, of_status, of_trouble
from ptyshipper.uplink.retry_after import retry_after_s
from ptyshipper.uplink.stream import ConnectionFailed, Dialer, Stream, Wait
from ptyshipper.wire.messages import MAX_BATCH_BYTES, SHIPPER_SUBPROTOCOL

MAX_MESSAGE_BYTES = 1024
"""A backend's messages to a shipper have 13 bytes at most."""

_MAX_HEAD_BYTES = 16_384
_RECEIVE_BYTES = 16_384
# One batch, and pongs: a peer that pings without end and never reads must not fill our memory.
_MAX_UNSENT_BYTES = 2 * MAX_BATCH_BYTES
_CONTROL = frozenset({Opcode.PING, Opcode.PONG, Opcode.CLOSE})
_NO_CODE = 1005


class Connection:
    """An open WebSocket of our subprotocol, or on its way there.

    ``open``, then ``send`` and ``receive``, then ``close``. ``ended`` tells the outcome once the
    other side ended it; what ``receive`` returned with it is still good. ``send`` keeps what the
    network does not take at once: ``is_flushed`` is false until ``flush``, called when ``fileno``
    is writable, got rid of it.
    """

    def __init__(self, dialer: Dialer, token: str) -> None:
        endpoint = dialer.endpoint
        path, _, query = endpoint.resource.partition("?")
        self._dialer = dialer
        self._protocol = ClientProtocol(
            WebSocketURI(endpoint.secure, endpoint.host, endpoint.port, path, query),
            subprotocols=[Subprotocol(SHIPPER_SUBPROTOCOL)],
            max_size=MAX_MESSAGE_BYTES,
        )
        self._token = token
        self.ended: Outcome | None = None
        self._stream: Stream | None = None
        self._unsent = memoryview(b"")
        self._early = b""  # what came in one piece with the answer to the upgrade

    def open(self, wait: Wait) -> None:
        """Connect, and be upgraded.

        Raises:
            ConnectionFailed: with what to make of it; and whatever ``wait`` raises.
        """
        self._stream = self._dialer.open(wait)
        try:
            self._upgrade(wait)
        except TimeoutError:
            raise ConnectionFailed(of_trouble(Trouble.TIMED_OUT)) from None
        except OSError as error:
            raise ConnectionFailed(self._dialer.outcome_of(error)) from None

    def fileno(self) -> int:
        return self._stream.fileno() if self._stream is not None else -1

    @property
    def is_flushed(self) -> bool:
        return not self._unsent

    def send(self, message: bytes) -> None:
        """Send one message, after the one before was flushed; nothing once ``ended`` is set."""
        if self.ended is not None:
            return
        self._protocol.send_binary(message)
        self._send_protocol_bytes()

    def flush(self) -> None:
        """Send what ``send`` could not."""
        assert self._stream is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._stream.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Nobody takes it any more. Why, and maybe with a close code, is for ``receive`` to see.
            self._unsent = memoryview(b"")

    def receive(self) -> list[bytes]:
        """The messages that came, maybe none; maybe ``ended`` is set now."""
        assert self._stream is not None
        data, self._early = self._early, b""
        try:
            part = self._stream.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            pass
        except OSError as error:
            self.ended = self._dialer.outcome_of(error)
        else:
            data += part
            if not part:
                self.ended = of_trouble(Trouble.LOST)
        return self._messages_in(data) if data else []

    def close(self) -> None:
        """Let go of the socket; the kernel still sends what it has taken."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _upgrade(self, wait: Wait) -> None:
        assert self._stream is not None
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._send_protocol_bytes()
        while self._unsent:
            wait(self.fileno(), True, 1.0)
            self.flush()
        head = b""
        while b"\r\n\r\n" not in head:
            if len(head) > _MAX_HEAD_BYTES or (head and not b"HTTP/".startswith(head[:5])):
                raise ConnectionFailed(of_trouble(Trouble.NOT_HTTP))
            try:
                part = self._stream.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                wait(self.fileno(), False, 1.0)
                continue
            if not part:
                raise ConnectionFailed(of_trouble(Trouble.NOT_HTTP if head else Trouble.LOST))
            head += part
        self._read_head(head)

    def _read_head(self, head: bytes) -> None:
        """Only an answer that upgrades goes to websockets, which would wait for any other's body."""
        end = head.index(b"\r\n\r\n") + 4
        lines = head[:end].split(b"\r\n")
        words = lines[0].split(b" ", 2)
        if len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
            raise ConnectionFailed(of_trouble(Trouble.NOT_HTTP))
        if words[1] != b"101":
            fields = (line.partition(b":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            raise ConnectionFailed(of_status(int(words[1]), retry_after_s(headers)))
        self._protocol.receive_data(head[:end])
        self._protocol.events_received()
        if self._protocol.state is not State.OPEN or self._protocol.subprotocol is None:
            raise ConnectionFailed(of_trouble(Trouble.NOT_OURS))
        self._early = head[end:]

    def _messages_in(self, data: bytes) -> list[bytes]:
        protocol = self._protocol
        protocol.receive_data(data)
        messages = []
        for event in protocol.events_received():
            if not isinstance(event, Frame) or event.opcode in _CONTROL:
                continue
            if event.opcode is Opcode.BINARY and event.fin:
                messages.append(bytes(event.data))
            else:
                # Text, or in fragments: nothing that a backend of this protocol sends.
                self.ended = of_trouble(Trouble.BROKEN_PROTOCOL)
        if protocol.close_rcvd is not None:
            code, reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
            self.ended = of_close(None if code == _NO_CODE else code, reason)
        elif protocol.parser_exc is not None or len(self._unsent) > _MAX_UNSENT_BYTES:
            self.ended = of_trouble(Trouble.BROKEN_PROTOCOL)
        self._send_protocol_bytes()  # pongs, and the answer to a close
        return messages

    def _send_protocol_bytes(self) -> None:
        parts = self._protocol.data_to_send()
        if parts:
            # A lone part, such as a batch, is not copied.
            is_lone = len(parts) == 1 and not self._unsent
            self._unsent = memoryview(parts[0] if is_lone else b"".join([self._unsent, *parts]))
            self.flush()
