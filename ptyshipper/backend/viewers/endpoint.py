"""The viewers' WebSocket: a session's records from an offset on, history and live in one go."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from starlette.types import Scope, Send

from ptyshipper.backend.fanout import Subscription
from ptyshipper.backend.session import Chunk, Session, records_from
from ptyshipper.backend.viewers.watching import (
    LOOK_EVERY_S,
    READ_BYTES,
    Codes,
    SessionEndpoint,
    Unshowable,
)
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode


class ViewEndpoint(SessionEndpoint):
    """Sends the records from ``from`` on and, with ``follow``, what comes; then the summary."""

    word = "records"
    kind = "records"
    subprotocol = messages.VIEWER_SUBPROTOCOL
    codes = Codes(
        CloseCode.DONE,
        CloseCode.MALFORMED,
        CloseCode.UNAUTHORIZED,
        CloseCode.NOT_FOUND,
        CloseCode.STORE,
        CloseCode.INTERNAL,
    )

    async def show(
        self, session: Session, subscription: Subscription, scope: Scope, send: Send
    ) -> None:
        offset, follow = _question(scope)
        while True:
            live = subscription.take(offset)
            if live is not None:
                await _send(send, messages.batch(live.first_offset, live.records))
                offset = live.end_offset
                continue
            async with self.turns.slice():
                # The session first: what is committed in between is then read, or wakes.
                session = await self.store.load(session.id) or session
                stored = await self.store.chunks(session.number, offset, READ_BYTES)
            if stored:
                first_offset, records = _records_from(stored, offset)
                offset = stored[-1].end_offset
                if records:
                    await _send(send, messages.batch(first_offset, records))
                continue
            now_us = time.time_ns() // 1000
            if not follow or session.state(now_us) != "running":
                await _send(send, messages.summary(session.summary(now_us)))
                return
            await subscription.wait(LOOK_EVERY_S)


def _records_from(chunks: list[Chunk], offset: int) -> tuple[int, bytes]:
    first_offset, records = records_from(chunks[0].records, chunks[0].first_offset, offset)
    if not records:
        first_offset = chunks[0].end_offset
    return first_offset, b"".join([records, *(chunk.records for chunk in chunks[1:])])


def _question(scope: Scope) -> tuple[int, bool]:
    """``from`` and ``follow`` of the query, 0 where they are missing.

    Raises:
        Unshowable: they are nonsense.
    """
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    offset, follow = query.get("from", ["0"])[-1], query.get("follow", ["0"])[-1]
    is_number = offset.isascii() and offset.isdigit() and len(offset) <= 19
    if not is_number or int(offset) > messages.MAX_OFFSET or follow not in ("0", "1"):
        raise Unshowable(CloseCode.MALFORMED, "ask with from=<offset>&follow=<0|1>")
    return int(offset), follow == "1"


async def _send(send: Send, message: bytes) -> None:
    await send({"type": "websocket.send", "bytes": message})
