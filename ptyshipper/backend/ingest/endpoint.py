"""The shippers' WebSocket, as a raw ASGI application: it moves bytes, ``core`` decides.

Raw, because Starlette's WebSocket class costs a quarter of the messages that one core can take.
The server stops reading from a connection while a message waits for its application, so each
connection's task does nothing but receive; whatever is sent, a task of its own sends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import assert_never

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import close_message, upgrade
from ptyshipper.backend.faults import where
from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.session import Session
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode

log = logging.getLogger("ptyshipper.backend")


class IngestEndpoint:
    """ASGI application for scopes of type ``websocket``."""

    def __init__(self, hub: Hub, token: str) -> None:
        self._hub = hub
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if await upgrade(scope, receive, send, self._token, messages.SHIPPER_SUBPROTOCOL):
                await Connection(self._hub, send).run(receive)
        except OSError:
            pass  # it went away: ASGI's sign for that


class Connection:
    """One shipper's connection; ``run`` lasts as long as it does."""

    __slots__ = (
        "_ack_offset",
        "_close",
        "_hub",
        "_loop",
        "_outbox",
        "_send",
        "_sender",
        "_session",
        "ingest",
    )

    def __init__(self, hub: Hub, send: Send) -> None:
        self._hub = hub
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self.ingest = core.Ingest(self._loop.time())
        self._outbox: bytes | None = None
        self._ack_offset: int | None = None
        self._close: core.Close | None = None
        # The task that sends, while there is something to send.
        self._sender: asyncio.Task[None] | None = None

    async def run(self, receive: Receive) -> None:
        self._hub.connected(self)
        try:
            while True:
                event = await receive()
                if event["type"] == "websocket.disconnect":
                    return
                message = event.get("bytes")
                if message is None:
                    message = event["text"]
                self.do(self.ingest.received(message, self._loop.time()))
        except Exception as error:
            # The last resort: a flaw of ours costs this connection, never the server.
            log.error("a shipper's connection failed: %s", where(error))
            self.do(self.ingest.closed(CloseCode.INTERNAL, "the backend failed unexpectedly"))
        finally:
            self.ingest.closed(CloseCode.GOING_AWAY, "")
            self._hub.disconnected(self, self._session)

    def do(self, commands: list[core.Command]) -> None:
        """Carry out what the core decided, in order."""
        for command in commands:
            match command:
                case core.Append():
                    assert self._session is not None
                    self._hub.append(self, self._session, command)
                case core.Acknowledge():
                    self._ack_offset = command.offset
                    self._send_soon()
                case core.Send():
                    self._outbox = command.message
                    self._send_soon()
                case core.Open():
                    self._session = self._hub.open(self, command, self._loop.time())
                case core.MarkCut():
                    assert self._session is not None
                    self._hub.mark_cut(self, self._session)
                case core.Close():
                    self._close = command
                    self._send_soon()
                case _:
                    assert_never(command)

    def _send_soon(self) -> None:
        if self._sender is None:
            self._sender = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        """Send what waits: at most one welcome, the newest ACK, and the close, in this order."""
        try:
            while True:
                if self._outbox is not None:
                    message, self._outbox = self._outbox, None
                elif self._ack_offset is not None:
                    message, self._ack_offset = messages.ack(self._ack_offset), None
                else:
                    break
                await self._send({"type": "websocket.send", "bytes": message})
            if self._close is not None:
                await self._send(close_message(self._close.code, self._close.reason))
        except (OSError, RuntimeError):
            # It went away, or the server closed first (1009, 1012), after which uvicorn calls any
            # message a programming error. receive tells.
            pass
        finally:
            self._sender = None
