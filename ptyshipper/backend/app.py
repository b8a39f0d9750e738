"""The backend's composition root: builds everything, runs it, takes it down in reverse."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ptyshipper import statefile
from ptyshipper.backend import directory, guards, journal, login, operation, posting, tokens
from ptyshipper.backend.access import Access, answer_upgrade
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.faults import where
from ptyshipper.backend.health import Health
from ptyshipper.backend.ingest.allowance import Allowance, Limits
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.endpoint import IngestEndpoint
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.ingest.posts import Posts
from ptyshipper.backend.journal import told
from ptyshipper.backend.listening import BACKLOG, Listeners, listening
from ptyshipper.backend.metrics import Metrics
from ptyshipper.backend.page import serving
from ptyshipper.backend.proxies import BehindProxies
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.register import Register, make_link
from ptyshipper.backend.retention import Retention, keep_to
from ptyshipper.backend.seats import Seats
from ptyshipper.backend.store.base import Store
from ptyshipper.backend.stores import open_anvilops, open_store
from ptyshipper.backend.tls import Certificate
from ptyshipper.backend.tokens import Tokens
from ptyshipper.backend.viewers import (
    api,
    app_download,
    app_histogram,
    app_lines,
    app_live,
    app_logs,
    app_search,
    download,
    lines,
    live,
    openapi,
    search,
    sessions_live,
)
from ptyshipper.backend.viewers.answers import refuse_unrouted
from ptyshipper.backend.viewers.endpoint import ViewEndpoint
from ptyshipper.backend.viewers.terminal import TerminalEndpoint
from ptyshipper.backend.viewers.watching import Gallery, SessionEndpoint
from ptyshipper.errors import BackendError, StoreError
from ptyshipper.serve_config import ServeSettings
from ptyshipper.wire.messages import MAX_MESSAGE_BYTES
from ptyshipper.wire.paths import INGEST_PATH

if TYPE_CHECKING:
    from ptyshipper.backend.bridge.store import AnvilopsStore

SWEEP_EVERY_S = 1.0
SHUTDOWN_WITHIN_S = 3
FLUSH_WITHIN_S = 1.0
SWITCH_AFTER_S = 0.0003
"""So long a busy loop keeps the interpreter from a store's thread between two of its long calls; with
Python's 5 ms, forty short ones would take 200 ms."""
_SPARE_DESCRIPTORS = 64

log = logging.getLogger("ptyshipper.backend")


def serve(
    settings: ServeSettings, *, announce: Callable[[str], None], with_link: bool = False
) -> None:
    """Run a backend until SIGTERM or SIGINT. Port 0 takes a free one.

    Args:
        announce: gets one line for a person once shippers and viewers can connect.
        with_link: and another with a link that logs a browser in, once.

    Raises:
        BackendError: DIR, the port or the certificate can't be used, another backend uses DIR, or
            everybody could reach this one and nobody was given a token.
    """
    journal.begin(settings.log_format)
    with directory.making_private_files():
        directory.prepare(settings.data_dir)
        with directory.locked(settings.data_dir), listening(settings) as listeners:
            _serve(settings, listeners, announce, with_link)


def _serve(
    settings: ServeSettings,
    listeners: Listeners,
    announce: Callable[[str], None],
    with_link: bool,
) -> None:
    _raise_descriptor_limit()
    _collect_less_garbage()
    sys.setswitchinterval(SWITCH_AFTER_S)
    issued = tokens.read_or_make(settings.data_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, listeners, issued, announce, with_link))
    finally:
        statefile.remove(settings.data_dir, os.getpid())


async def _run(
    settings: ServeSettings,
    listeners: Listeners,
    issued: Tokens,
    announce: Callable[[str], None],
    with_link: bool,
) -> None:
    store: Store
    bridge: AnvilopsStore | None = None
    if settings.anvilops:
        assert settings.store_url is not None, "the settings were checked"
        store = bridge = await open_anvilops(settings.store_url)
    else:
        store = await open_store(settings.data_dir, settings.store_url)
    try:
        register = Register(store)
        if not settings.anvilops and not await register.has_good("ingest"):
            listeners.check_unreachable()
        await _run_on(store, bridge, register, settings, listeners, issued, announce, with_link)
    finally:
        await store.close()


async def _run_on(
    store: Store,
    bridge: AnvilopsStore | None,
    register: Register,
    settings: ServeSettings,
    listeners: Listeners,
    issued: Tokens,
    announce: Callable[[str], None],
    with_link: bool,
) -> None:
    data_dir = settings.data_dir
    loop = asyncio.get_running_loop()
    counts = Counts()
    fanout = Fanout(counts)
    committer = Committer(store, fanout, loop, counts)
    allowance = Allowance(Limits(settings.max_sessions, settings.max_rate_bytes_per_s))
    hub = Hub(store, committer, allowance, counts)
    refusals = Refusals(counts)
    seats = Seats(settings.max_viewers)
    access = Access(issued, register, refusals, settings.public_url, bridge, seats)
    health, turns = Health(store), Turns()
    metrics = Metrics(counts, hub, committer, fanout, seats)
    posts = Posts(committer, store, access, hub, refusals)
    operations = [
        *operation.operations(health, metrics, access),
        *posting.operations(posts),
        *sessions_live.operations(store, fanout, access),  # its path is no session's
        *api.operations(store, access),
        *lines.operations(store, access, turns),
        *live.operations(store, fanout, access, turns),
        *app_lines.operations(store, access, turns),
        *app_histogram.operations(store, access, turns),
        *app_search.operations(store, access, turns),
        *app_download.operations(store, access, turns),
        *app_live.operations(store, fanout, access, turns),
        *app_logs.operations(store, fanout, access, turns),
        *search.operations(store, access, turns),
        *download.operations(store, access, turns),
        *login.operations(store, register, access),
        *serving.operations(serving.read_files(serving.BUILT)),
    ]
    gallery = Gallery(access)
    app: ASGIApp = Router(
        IngestEndpoint(hub, access, refusals),
        [
            ViewEndpoint(store, fanout, gallery, turns),
            TerminalEndpoint(store, fanout, gallery, turns),
        ],
        Starlette(
            routes=openapi.routes(operations), exception_handlers={HTTPException: refuse_unrouted}
        ),
    )
    if settings.trusted_proxies:
        app = BehindProxies(app, settings.trusted_proxies)
    public_url = settings.public_url or listeners.url

    async def started() -> None:
        state = statefile.ServerState(
            listeners.local_url, issued.ingest, issued.view, os.getpid(), public_url
        )
        try:
            statefile.write(data_dir, state)
        except OSError as error:
            raise BackendError(f"can't write to {data_dir}: {error.strerror}") from None
        announce(f"listening on {listeners.url}, data in {data_dir}")
        log.info("listening", extra=told(url=listeners.url))
        if with_link:
            link = await make_link(store, public_url)
            announce(f"open in a browser, within 10 minutes: {link}")

    async def drain() -> None:
        health.is_draining = True
        viewers = seats.taken.total()
        log.info("draining", extra=told(shippers=hub.connections, viewers=viewers))
        fanout.stop()
        await hub.stop()

    server = _Server(app, listeners, started, drain)
    retention = Retention(settings.retain_s, settings.retain_bytes)
    chores = [
        asyncio.create_task(_sweep(hub, register), name="sweeper"),
        asyncio.create_task(keep_to(retention, store, counts), name="retention"),
        asyncio.create_task(store.listen(fanout.hear, fanout.wake_all), name="listener"),
    ]
    if bridge is not None:
        chores.append(asyncio.create_task(bridge.catch_up(), name="bridge"))
    with _stopped_by_signals(server), _reloaded_by_signal(listeners.certificate):
        await server.serve()
    for chore in chores:
        chore.cancel()
    # The goodbyes left something to store: who is not connected any more.
    await committer.close(FLUSH_WITHIN_S)
    log.info("stopped")


async def _sweep(hub: Hub, register: Register) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await hub.sweep(asyncio.get_running_loop().time())
            await register.sweep()
        except StoreError as error:
            log.error("%s", error)
        except Exception as error:
            # The last resort: without sweeps, nobody would ever be found silent again.
            log.error("a look for silent connections failed: %s", where(error))


class Router:
    """Sends each connection to its application. WebSockets go past Starlette, which would wrap
    every message of theirs."""

    def __init__(
        self,
        ingest: ASGIApp,
        views: Sequence[SessionEndpoint],
        http: ASGIApp,
    ) -> None:
        self._ingest = ingest
        self._views = views
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["path"] == INGEST_PATH:
            await self._ingest(scope, receive, send)
        else:
            for view in self._views:
                if view.matches(scope["path"]):
                    await view(scope, receive, send)
                    return
            await receive()
            await answer_upgrade(send, HTTPStatus.NOT_FOUND)


class _Server(uvicorn.Server):
    """uvicorn, telling when it accepts connections, and when it is about to close them."""

    def __init__(
        self,
        app: ASGIApp,
        listeners: Listeners,
        started: Callable[[], Awaitable[None]],
        stopping: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=guards.GuardedHttpProtocol,
                ws=guards.GuardedWebSocketProtocol,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=None,  # the protocol has its own heartbeat, which proxies pass on
                ws_per_message_deflate=False,  # 37 KiB a connection, and the bytes are often packed
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,  # BehindProxies is stricter
                timeout_graceful_shutdown=SHUTDOWN_WITHIN_S,
            )
        )
        self._listeners = listeners
        self._on_started = started
        self._on_stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        certificate, listeners = self._listeners.certificate, self._listeners
        self.servers.append(await self._listen(listeners.public, certificate))
        if listeners.local is not listeners.public:
            self.servers.append(await self._listen(listeners.local, None))
        await self._on_started()

    async def _listen(
        self, listener: socket.socket, certificate: Certificate | None
    ) -> asyncio.Server:
        """uvicorn's own listeners share one certificate, and wait a minute for a handshake."""

        def protocol() -> guards.GuardedHttpProtocol:
            return guards.GuardedHttpProtocol(self.config, self.server_state, self.lifespan.state)

        return await asyncio.get_running_loop().create_server(
            protocol,
            sock=listener,
            backlog=BACKLOG,
            ssl=None if certificate is None else certificate.context,
            ssl_handshake_timeout=None if certificate is None else guards.REQUEST_WITHIN_S,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_stopping()
        await self._closes_answered()
        await super().shutdown(sockets)

    async def _closes_answered(self) -> None:
        """uvicorn drops the connections; with bytes unread, the kernel would take back with a reset what
        was acknowledged last, and why the peer was sent away."""
        deadline_s = time.monotonic() + guards.CLOSE_WITHIN_S
        while time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
            if not any(
                getattr(connection, "close_sent", False)
                for connection in self.server_state.connections
            ):
                return


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """SIGTERM and SIGINT end ``server``, also before and after uvicorn's own handlers are in place.

    uvicorn restores the handlers it found and raises the signal again, which would end this process
    before it has tidied up.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reloaded_by_signal(certificate: Certificate | None) -> Iterator[None]:
    """SIGHUP has a certificate read again; where there is none, it means what it always does."""
    if certificate is None:
        yield
        return
    in_use = certificate

    def reload() -> None:
        try:
            in_use.reload()
        except BackendError as error:
            log.error("%s; the certificate stays as it was", error)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _collect_less_garbage() -> None:
    """What is loaded by now stays; a connection lives long, and looking through all of them each time
    a few hundred came cost a quarter of accepting 10,000 (measured: 6.0 against 4.4 s of one core).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have: a shipper holds one all its life."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # then it is the soft limit
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 20
    guards.limit_connections(max(1, soft - _SPARE_DESCRIPTORS))
