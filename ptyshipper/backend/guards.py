"""uvicorn's protocols, with the limits that uvicorn leaves to a proxy in front of it."""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

REQUEST_WITHIN_S = 10.0
MAX_HEAD_BYTES = 65_536
MAX_REQUEST_BYTES = 2 << 20
"""A body of the size that the application refuses is read nearly whole, so that its answer is, too."""
CLOSE_WITHIN_S = 2.0
KEEPALIVE_IDLE_S = 60
STALLED_WITHIN_S = 60.0
"""A peer that has so long not read what one message holds is no reader: it comes back, or does not."""
STALLED_ANSWER_WITHIN_S = 600.0
"""The same of an answer: who pauses a download can't go on later, but what pauses for ever has a seat."""
MAX_UNREAD_PONG_BYTES = 262_144

_DIRECT = "ptyshipper.direct"
"""The name of ``Direct`` among ASGI's extensions."""

_free_descriptors = 0


def limit_connections(descriptors: int) -> None:
    """Accept at most this many connections at a time; more are closed at once."""
    global _free_descriptors
    _free_descriptors = descriptors


class _StallTimer:
    """Aborts a connection whose peer reads nothing for too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, within_s: float, transport: asyncio.Transport) -> None:
        self.stop()
        # Aborted, not closed: a close would wait behind what is not read.
        self._handle = self._loop.call_later(within_s, transport.abort)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class GuardedHttpProtocol(HttpToolsProtocol):
    """Closes a connection that makes no request in time, or one that has no end, or reads no answer."""

    _request_timer: asyncio.TimerHandle | None = None
    _request_bytes = 0
    _has_head = False

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._stall = _StallTimer(self.loop)
        if len(self.connections) > _free_descriptors:
            self.transport.abort()
            return
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # A viewer says nothing, so only the kernel can find out that its machine is gone.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        self._start_request_timer()

    def data_received(self, data: bytes) -> None:
        if self._request_bytes == 0:
            self._start_request_timer()
        self._request_bytes += len(data)
        super().data_received(data)
        # Looked at behind the parser: one read may bring a head and much of a body.
        if self._request_bytes > (MAX_REQUEST_BYTES if self._has_head else MAX_HEAD_BYTES):
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._has_head = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._request_bytes = 0
        self._has_head = False
        self._stop_request_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._stop_request_timer()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.start(STALLED_ANSWER_WITHIN_S, self.transport)

    def resume_writing(self) -> None:
        self._stall.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_request_timer()
        self._stall.stop()
        super().connection_lost(exc)

    def _start_request_timer(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None


class Direct(Protocol):
    """A WebSocket without ASGI's queue and tasks, for an application that never waits in between.

    A message takes a wake-up, a turn of the loop and two calls of the kernel (reading pauses while it
    waits) to come through ``receive``, and its answer a task to go through ``send``; together that was a
    third of what a line from each of a thousand shippers costs.
    """

    def deliver_to(self, received: Callable[[bytes], None]) -> None:
        """Call this with every binary message, behind those that wait for ``receive`` by now. All else
        still comes there. It must not raise."""

    def write(self, message: bytes) -> bool:
        """Send a binary message, unless the peer reads too slowly or is gone: then ``send`` it."""


def direct(scope: MutableMapping[str, Any]) -> Direct | None:
    """The connection of a scope of type ``websocket``, where the server is ours."""
    found: Direct | None = scope.get("extensions", {}).get(_DIRECT)
    return found


class GuardedWebSocketProtocol(WebSocketsSansIOProtocol):
    """Bounds what a peer that does not read can cost, and lets one read why it was refused; a ``Direct``.

    A message waits until the one before it has gone out, but the answer to a ping does not.

    uvicorn closes the socket right behind the close frame. With bytes of the peer still unread, the
    kernel then sends a reset, and the peer may lose the frame that says 1009.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_WITHIN_S
        self._stall = _StallTimer(self.loop)
        self._unread_pong_bytes = 0
        self._deliver: Callable[[bytes], None] | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast(dict[str, Any], self.scope["extensions"])[_DIRECT] = self

    def deliver_to(self, received: Callable[[bytes], None]) -> None:
        self._deliver = received

    def send_receive_event_to_app(self) -> None:
        # What waits in the queue is still to be received, in its order.
        if (
            self._deliver is None
            or self.close_sent
            or self.curr_msg_data_type == "text"
            or not self.queue.empty()
        ):
            super().send_receive_event_to_app()
            return
        message = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        self._deliver(message)

    def write(self, message: bytes) -> bool:
        if not self.writable.is_set() or self.disconnected or self.close_sent:
            return False
        try:
            self.conn.send_binary(message)
        except InvalidState:
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.start(STALLED_WITHIN_S, self.transport)

    def resume_writing(self) -> None:
        self._stall.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.stop()
        self._deliver = None
        if hasattr(self, "scope"):  # or it would hold itself until somebody collects garbage
            cast(dict[str, Any], self.scope["extensions"]).pop(_DIRECT, None)
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        if self.transport.get_write_buffer_size() == 0:
            self._unread_pong_bytes = 0
        pongs = b"".join(self.conn.data_to_send())
        self._unread_pong_bytes += len(pongs)
        if self._unread_pong_bytes > MAX_UNREAD_PONG_BYTES:
            self.transport.abort()
        else:
            self.transport.write(pongs)

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is not None:
            self.conn.receive_data(data)  # which discards it by now
            return
        super().data_received(data)

    def handle_parser_exception(self) -> None:
        assert self.conn.close_sent is not None
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # What the peer still sends is read and thrown away until it has seen the end of ours.
        if self.transport.can_write_eof():  # TLS has no end in one direction
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
