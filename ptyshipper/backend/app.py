"""The backend's composition root: builds everything, runs it, takes it down in reverse."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ptyshipper import statefile
from ptyshipper.backend import guards, tokens
from ptyshipper.backend.access import Access, answer_upgrade
from ptyshipper.backend.entries.turns import Turns
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.faults import where
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.endpoint import IngestEndpoint
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.store import sqlite
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.backend.tokens import Tokens
from ptyshipper.backend.viewers import api, download, lines, live, openapi, search
from ptyshipper.backend.viewers.answers import refusal, refuse_unrouted
from ptyshipper.backend.viewers.endpoint import ViewEndpoint
from ptyshipper.backend.viewers.openapi import Answer, Operation, refused
from ptyshipper.backend.viewers.terminal import TerminalEndpoint
from ptyshipper.errors import BackendError, UsageError
from ptyshipper.wire.messages import MAX_MESSAGE_BYTES
from ptyshipper.wire.paths import INGEST_PATH

LOCK_NAME = "serve.lock"
SWEEP_EVERY_S = 1.0
SHUTDOWN_WITHIN_S = 3
_BACKLOG = 4_096
_SPARE_DESCRIPTORS = 64
_DATABASE_FILES = tuple(sqlite.FILE_NAME + suffix for suffix in ("", "-wal", "-shm"))

log = logging.getLogger("ptyshipper.backend")


def serve(host: str, port: int, data_dir: Path, *, announce: Callable[[str], None]) -> None:
    """Run a backend until SIGTERM or SIGINT. Port 0 takes a free one.

    Args:
        announce: gets one line for a person once shippers and viewers can connect.

    Raises:
        BackendError: DIR or the port can't be used, or another backend uses DIR.
        UsageError: no port has that number.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"there is no port {port}: give 1 to 65535, or 0 for a free one")
    _log_to_stderr()
    with _making_private_files():
        _prepare(data_dir)
        with _locked(data_dir), _listening(host, port) as listener:
            _serve(listener, data_dir, announce)


def _serve(listener: socket.socket, data_dir: Path, announce: Callable[[str], None]) -> None:
    _raise_descriptor_limit()
    _collect_less_garbage()
    issued = tokens.read_or_make(data_dir)
    store = SqliteStore(data_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(listener, data_dir, issued, store, announce))
    finally:
        statefile.remove(data_dir, os.getpid())


async def _run(
    listener: socket.socket,
    data_dir: Path,
    issued: Tokens,
    store: SqliteStore,
    announce: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    fanout = Fanout()
    committer = Committer(store, fanout, loop)
    hub = Hub(store, committer)
    access = Access(issued)
    turns = Turns()
    operations = [
        *_plain_operations(),
        *api.operations(store, access),
        *lines.operations(store, access, turns),
        *live.operations(store, fanout, access, turns),
        *search.operations(store, access, turns),
        *download.operations(store, access, turns),
    ]
    app = Router(
        IngestEndpoint(hub, access),
        [
            ViewEndpoint(store, fanout, access, turns),
            TerminalEndpoint(store, fanout, access, turns),
        ],
        Starlette(
            routes=openapi.routes(operations), exception_handlers={HTTPException: refuse_unrouted}
        ),
    )
    url = _url(listener)

    def started() -> None:
        state = statefile.ServerState(url, issued.ingest, issued.view, os.getpid())
        try:
            statefile.write(data_dir, state)
        except OSError as error:
            raise BackendError(f"can't write to {data_dir}: {error.strerror}") from None
        announce(f"listening on {url}, data in {data_dir}")

    async def stopping() -> None:
        fanout.stop()
        await hub.stop()

    server = _Server(app, started, stopping)
    sweeper = asyncio.create_task(_sweep(hub), name="sweeper")
    with _stopped_by_signals(server):
        await server.serve(sockets=[listener])
    sweeper.cancel()
    await committer.flush()
    await store.close()


async def _sweep(hub: Hub) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await hub.sweep(asyncio.get_running_loop().time())
        except Exception as error:
            # The last resort: without sweeps, nobody would ever be found silent again.
            log.error("a look for silent connections failed: %s", where(error))


class Router:
    """Sends each connection to its application. WebSockets go past Starlette, which would wrap
    every message of theirs."""

    def __init__(
        self,
        ingest: ASGIApp,
        views: Sequence[ViewEndpoint | TerminalEndpoint],
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


def _plain_operations() -> list[Operation]:
    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def upgrade_required(_: Request) -> Response:
        headers = {"upgrade": "websocket", "connection": "upgrade"}
        return refusal(HTTPStatus.UPGRADE_REQUIRED, "open a WebSocket here", headers)

    return [
        Operation(
            "/healthz",
            "Whether the backend runs",
            healthy,
            {200: Answer("it does", "text/plain; charset=utf-8")},
            security=(),
        ),
        *(
            Operation(
                INGEST_PATH,
                "The shippers' WebSocket, for who does not ask for one",
                upgrade_required,
                refused(HTTPStatus.UPGRADE_REQUIRED),
                method=method,
                security=(),
            )
            for method in ("GET", "POST")
        ),
    ]


class _Server(uvicorn.Server):
    """uvicorn, telling when it accepts connections, and when it is about to close them."""

    def __init__(
        self, app: ASGIApp, started: Callable[[], None], stopping: Callable[[], Awaitable[None]]
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
                timeout_graceful_shutdown=SHUTDOWN_WITHIN_S,
            )
        )
        self._on_started = started
        self._on_stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_stopping()
        await asyncio.sleep(0)  # the last acknowledgements go out before uvicorn's own close
        await super().shutdown(sockets)


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


def _collect_less_garbage() -> None:
    """What is loaded by now stays; a connection lives long, and looking through all of them each time
    a few hundred came cost a quarter of accepting 10,000 (measured: 6.0 against 4.4 s of one core).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("ptyshipper: %(message)s"))
    log.handlers[:] = [handler]
    log.propagate = False
    # uvicorn tells of every malformed request, which anybody on the network may send.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


@contextmanager
def _making_private_files() -> Iterator[None]:
    """Recordings are the owner's alone, SQLite's files too, and whatever the directory's mode."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _prepare(data_dir: Path) -> None:
    """Make DIR where there is none, and private what an earlier version left readable in it."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"can't make the directory {data_dir}: {error.strerror}") from None
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise BackendError(f"can't write to {data_dir}; choose another directory with --data")
    for name in (*_DATABASE_FILES, tokens.FILE_NAME):
        try:
            (data_dir / name).chmod(0o600)
        except OSError:
            pass  # it is not there, or not ours to change


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold DIR for this process alone; the kernel lets go of it however the process ends."""
    path = data_dir / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackendError(f"can't write {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise BackendError(
            f"another 'ptyshipper serve' uses {data_dir}; stop it, or choose another --data"
        ) from None
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BackendError(f"can't listen on {host}: {error.strerror}") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise BackendError(f"can't listen on {host} port {port}: {error.strerror}") from None
        yield listener


def _url(listener: socket.socket) -> str:
    """Where this machine's own commands reach the listener."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
