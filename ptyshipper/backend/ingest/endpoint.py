"""The shippers' WebSocket, as a raw ASGI application: it moves bytes, ``core`` decides.

Raw, because Starlette's WebSocket class costs a quarter of the messages that one core can take.
The server stops reading from a connection while a message waits for its application, so each
connection's task does nothing but receive; whatever is sent, a task of its own sends. Where the server
is ours, batches and ACKs need neither (``Direct``).
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import assert_never

from starlette.types import Receive, Scope, Send

from ptyshipper.backend.access import Access, Grant, accept, close_message
from ptyshipper.backend.faults import where
from ptyshipper.backend.guards import Direct, direct
from ptyshipper.backend.ingest import core
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.session import Session
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode

log = logging.getLogger("ptyshipper.backend")


class IngestEndpoint:
    """ASGI application for scopes of type ``websocket``."""

    def __init__(self, hub: Hub, access: Access, refusals: Refusals) -> None:
        self._hub = hub
        self._access = access
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            grant = await self._access.shipper(scope)
            refused, retry_after_s = self._refused(grant, scope)
            if await accept(
                scope, receive, send, refused, messages.SHIPPER_SUBPROTOCOL, retry_after_s
            ):
                assert isinstance(grant, Grant)
                connection = Connection(self._hub, grant, send, direct(scope))
                with self._access.watching(grant, connection.lock_out):
                    await connection.run(receive)
        except OSError:
            pass  # it went away: ASGI's sign for that

    def _refused(self, grant: Grant | HTTPStatus, scope: Scope) -> tuple[HTTPStatus | None, int]:
        """The status to answer the upgrade with, if it is not to be, and when to come again."""
        if isinstance(grant, HTTPStatus):
            return grant, 0
        refusal = self._hub.turned_away(grant.deployment_id)
        if refusal is None:
            return None, 0
        self._refusals.note("shipper", refusal.cause, scope)
        return refusal.status, refusal.retry_after_s


class Connection:
    """One shipper's connection; ``run`` lasts as long as it does."""

    __slots__ = (
        "_ack_offset",
        "_close",
        "_direct",
        "_grant",
        "_hub",
        "_loop",
        "_outbox",
        "_send",
        "_sender",
        "ingest",
        "session",
    )

    def __init__(self, hub: Hub, grant: Grant, send: Send, direct: Direct | None = None) -> None:
        self._hub = hub
        self._grant = grant
        self._send = send
        self._direct = direct
        self._loop = asyncio.get_running_loop()
        self.session: Session | None = None
        self.ingest = core.Ingest(self._loop.time())
        self._outbox: bytes | None = None
        self._ack_offset: int | None = None
        self._close: core.Close | None = None
        # The task that sends, while there is something to send.
        self._sender: asyncio.Task[None] | None = None

    async def run(self, receive: Receive) -> None:
        self._hub.connected(self)
        if self._direct is not None:
            self._direct.deliver_to(self._received)
        try:
            while True:
                event = await receive()
                if event["type"] == "websocket.disconnect":
                    return
                message = event.get("bytes")
                self._received(event["text"] if message is None else message)
        finally:
            self.ingest.closed(CloseCode.GOING_AWAY, "")
            self._hub.disconnected(self)

    def _received(self, message: bytes | str) -> None:
        try:
            self.do(self.ingest.received(message, self._loop.time()))
        except Exception as error:
            # The last resort: a flaw of ours costs this connection, never the server.
            log.error("a shipper's connection failed: %s", where(error))
            self.do(self.ingest.closed(CloseCode.INTERNAL, "the backend failed unexpectedly"))

    def lock_out(self) -> None:
        """Its token is good no more."""
        self.do(self.ingest.closed(CloseCode.UNAUTHORIZED, "the token was revoked or has expired"))

    def do(self, commands: list[core.Command]) -> None:
        """Carry out what the core decided, in order."""
        for command in commands:
            match command:
                case core.Append():
                    assert self.session is not None
                    self._hub.append(self, self.session, command)
                case core.Acknowledge():
                    self._ack_offset = command.offset
                    self._send_soon()
                case core.Send():
                    self._outbox = command.message
                    self._send_soon()
                case core.Open():
                    self._open(command)
                case core.MarkCut():
                    assert self.session is not None
                    self._hub.mark_cut(self, self.session)
                case core.Close():
                    self._hub.counts.closes["shipper", int(command.code)] += 1
                    self._close = command
                    self._send_soon()
                case _:
                    assert_never(command)

    def _open(self, command: core.Open) -> None:
        if self._grant.admits(command.description.deployment_id):
            self._hub.open(self, command, self._grant.app_id)
        else:
            reason = "the token is not this deployment's"
            self.do(self.ingest.closed(CloseCode.FORBIDDEN, reason))

    def _send_soon(self) -> None:
        if self._sender is None and not self._write_all():
            self._sender = self._loop.create_task(self._send_all())

    def _write_all(self) -> bool:
        """Send what waits here and now; whether all of it went."""
        if self._direct is None:
            return False
        if self._outbox is not None:
            if not self._direct.write(self._outbox):
                return False
            self._outbox = None
        if self._ack_offset is not None:
            if not self._direct.write(messages.ack(self._ack_offset)):
                return False
            self._ack_offset = None
        return self._close is None

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
