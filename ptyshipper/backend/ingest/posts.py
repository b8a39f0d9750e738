"""``POST /api/logs/ingest``: what older shippers send, answered as AnvilOps answers.

All posts of a pod make one session. Unlike a shipper's own it can't be resumed, since a post does not
tell where it belongs: one that is repeated is stored twice, as AnvilOps would.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import OrderedDict
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ptyshipper.backend.access import Access, Grant
from ptyshipper.backend.digest import digest
from ptyshipper.backend.faults import where
from ptyshipper.backend.ingest.allowance import FULL, Refusal
from ptyshipper.backend.ingest.committer import Committer, OpeningRefused, WriteRefused
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.ingest.post import Post, PostRefused, read_post, records_of, start_record
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.session import Session
from ptyshipper.backend.store.base import Opening, Store
from ptyshipper.errors import StoreError

MAX_BODY_BYTES = 1 << 20
"""After inflation. AnvilOps takes a tenth."""
MAX_KNOWN = 10_000
HELD_BYTES = 32 << 20
"""Of bodies, that are being read or wait to be stored."""
TRIES = 3
"""Two backends that get a pod's posts by turns take its session from each other."""
_WINDOW_BITS = {"": None, "identity": None, "gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

log = logging.getLogger("ptyshipper.backend")


class _TurnedAway(Exception):
    """The post may come again later."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.about)
        self.refusal = refusal


class _Pod:
    """A session of posts, None until it is opened, and the time in it of the last record."""

    __slots__ = ("last_us", "lock", "session")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.session: Session | None = None
        self.last_us = 0


class Posts:
    """Takes posts. ``__call__`` is Starlette's handler for them."""

    def __init__(
        self, committer: Committer, store: Store, access: Access, hub: Hub, refusals: Refusals
    ) -> None:
        self._committer = committer
        self._store = store
        self._access = access
        self._hub = hub
        self._refusals = refusals
        self._held_bytes = 0
        self._pods: OrderedDict[bytes, _Pod] = OrderedDict()

    async def __call__(self, request: Request) -> Response:
        try:
            status = await self._answer(request)
        except _TurnedAway as turned_away:
            refusal = turned_away.refusal
            self._refusals.note("shipper", refusal.cause, request.scope)
            headers = {"retry-after": str(refusal.retry_after_s)}
            return Response(status_code=refusal.status.value, headers=headers)
        except PostRefused:
            status = HTTPStatus.BAD_REQUEST
        except OpeningRefused:
            status = HTTPStatus.FORBIDDEN
        except StoreError as error:
            log.error("%s", error)
            status = HTTPStatus.SERVICE_UNAVAILABLE
        except ClientDisconnect:
            raise
        except Exception as error:
            log.error("a post failed: %s", where(error))
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        return Response(status_code=status.value)

    async def _answer(self, request: Request) -> HTTPStatus:
        grant = await self._access.shipper(request.scope)
        if grant is HTTPStatus.UNAUTHORIZED:
            return HTTPStatus.FORBIDDEN  # AnvilOps knows no 401
        if isinstance(grant, HTTPStatus):
            return grant
        _turn_away(self._hub.turned_away(grant.deployment_id))
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return HTTPStatus.BAD_REQUEST
        # Until it is stored: a store that hangs must not fill the memory with posts.
        _turn_away(FULL if self._held_bytes + MAX_BODY_BYTES > HELD_BYTES else None)
        held_bytes = _size_of(request)
        self._held_bytes += held_bytes
        try:
            return await self._take(request, grant)
        finally:
            self._held_bytes -= held_bytes

    async def _take(self, request: Request, grant: Grant) -> HTTPStatus:
        body = await _read(request)
        if body is None:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        post = read_post(body)
        if not grant.admits(post.deployment_id):
            return HTTPStatus.FORBIDDEN
        _turn_away(self._hub.judge(post.deployment_id, len(body), len(body)))
        if post.lines:
            await self._keep(post, grant)
        return HTTPStatus.NO_CONTENT

    async def _keep(self, post: Post, grant: Grant) -> None:
        """Return when it is durable."""
        pod = self._pod(post.session_id)
        async with pod.lock:  # one post after another, or the later one's lines might come first
            for _ in range(TRIES):
                if pod.session is None:
                    pod.session = await self._open(post, grant)
                    pod.last_us = await self._last_us(pod.session)
                try:
                    await self._append(pod, pod.session, post)
                    return
                except WriteRefused:
                    pod.session = None
                except StoreError:
                    pod.session = None
                    raise
        raise StoreError("a session of posts is fought over")

    def _pod(self, session_id: bytes) -> _Pod:
        pod = self._pods.pop(session_id, None) or _Pod()
        self._pods[session_id] = pod
        if len(self._pods) > MAX_KNOWN:
            oldest, forgotten = next(iter(self._pods.items()))
            if not forgotten.lock.locked():
                del self._pods[oldest]
        return pod

    async def _open(self, post: Post, grant: Grant) -> Session:
        about, now_us = post.description(), time.time_ns() // 1000
        answer = self._committer.open(Opening(post.session_id, about, grant.app_id, True, now_us))
        return await answer

    async def _last_us(self, session: Session) -> int:
        """The time of the last record that is stored: what comes then must not go back behind it."""
        chunk = await self._store.chunk_at(session.number, session.next_offset)
        return 0 if chunk is None else chunk.last_time_us

    async def _append(self, pod: _Pod, session: Session, post: Post) -> None:
        records, pod.last_us = records_of(
            post.lines, session.description.started_at_us, pod.last_us
        )
        if session.next_offset == 0:
            records = start_record(post.lines) + records
        batch = digest(records, session.next_offset, session.open_lines, max_records=len(records))
        session.last_seen_us = time.time_ns() // 1000
        self._committer.append(session, session.next_offset, records, batch)
        await self._committer.durable(session)


def _turn_away(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _TurnedAway(refusal)


def _size_of(request: Request) -> int:
    """What its body may take, as far as one can know before it is read."""
    told = request.headers.get("content-length", "")
    is_packed = request.headers.get("content-encoding", "") not in ("", "identity")
    if is_packed or not (told.isascii() and told.isdigit() and len(told) <= 9):
        return MAX_BODY_BYTES
    return min(int(told), MAX_BODY_BYTES)


async def _read(request: Request) -> bytes | None:
    """The body, inflated; None where it is too large.

    Raises:
        PostRefused: it is not encoded as it says.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _WINDOW_BITS:
        raise PostRefused("its encoding is not known")
    bits = _WINDOW_BITS[encoding]
    inflater = None if bits is None else zlib.decompressobj(bits)
    body, size = list[bytes](), 0
    async for part in request.stream():
        # One that is too large is read to its end, as far as the guard lets it come: an answer before
        # it would be lost with the connection, which the kernel resets while bytes are unread.
        try:
            while part and size <= MAX_BODY_BYTES:
                if inflater is None:
                    whole, part = part, b""
                else:
                    whole = inflater.decompress(part, MAX_BODY_BYTES + 1 - size)
                    part = inflater.unconsumed_tail
                body.append(whole)
                size += len(whole)
        except zlib.error:
            raise PostRefused("its body can't be inflated") from None
    return None if size > MAX_BODY_BYTES else b"".join(body)
