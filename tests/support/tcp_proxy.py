"""A TCP proxy between a shipper and its backend that does a test's worst: cuts, resets, delays, freezes.

It runs in threads of the test's process, one a connection, and looks at no byte: a cut falls wherever
the script says, in the middle of a handshake, of a frame, of an acknowledgement.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

_PIECE_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST (socket(7))


class Fate(NamedTuple):
    """What becomes of one connection.

    After ``up_bytes`` to the backend or ``down_bytes`` to the shipper, whichever is first, it is cut:
    just so many bytes went through in that direction. With ``reset`` by RST, else by FIN. Each piece
    arrives ``delay_s`` late. ``black_hole`` connections are accepted, and nothing is passed on.
    """

    up_bytes: int | None = None
    down_bytes: int | None = None
    reset: bool = False
    delay_s: float = 0.0
    black_hole: bool = False


GOOD = Fate()


def always_good(_: int) -> Fate:
    return GOOD


class TcpProxy:
    """Listens on ``port`` and passes on to ``target_port`` of this machine.

    ``fate_of`` is asked for each connection's fate, by its number from 0. ``connections`` counts
    those accepted, ``cuts`` those that met their fate.
    """

    def __init__(self, target_port: int, fate_of: Callable[[int], Fate] = always_good) -> None:
        self.target_port = target_port
        self.fate_of = fate_of
        self.connections = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._is_frozen = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def target(self) -> int:
        """The port that a connection is passed on to."""
        return self.target_port

    def url(self, path: str = "/api/logs/ingest") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def freeze(self) -> None:
        """Pass nothing on until ``thaw``; connections stay open, and new ones are accepted."""
        self._set_frozen(True)

    def thaw(self) -> None:
        self._set_frozen(False)

    def cut_all(self, *, reset: bool = False) -> None:
        """Cut every open connection now."""
        with self._lock:
            for link in self._links:
                link.cut(reset)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def _set_frozen(self, is_frozen: bool) -> None:
        with self._lock:
            self._is_frozen = is_frozen
            for link in self._links:
                link.set_frozen(is_frozen)

    def _accept(self) -> None:
        while True:
            try:
                shipper, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(shipper, self.fate_of(self.connections))
            with self._lock:
                self.connections += 1
                self._links.add(link)
                link.set_frozen(self._is_frozen)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: _Link) -> None:
        try:
            link.run(self.target())
        except OSError:
            pass  # a peer died, or is not there: the other hears of it now
        finally:
            with self._lock:
                self._links.discard(link)
                self.cuts += link.met_its_fate
                link.close()


class _Way:
    """One direction: from ``source`` to ``sink``, at most ``left`` bytes more (None: any number)."""

    def __init__(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        self.source = source
        self.sink = sink
        self.left = left
        self.held = b""


class _Link:
    """One connection through the proxy. ``run`` is its thread's, ``cut`` and the rest are anybody's."""

    def __init__(self, shipper: socket.socket, fate: Fate) -> None:
        self.met_its_fate = False
        self._fate = fate
        self._sockets = [shipper]
        self._is_frozen = self._is_cut = self._by_reset = False
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def cut(self, by_reset: bool) -> None:
        self._is_cut, self._by_reset = True, by_reset
        os.eventfd_write(self._wake_fd, 1)

    def set_frozen(self, is_frozen: bool) -> None:
        self._is_frozen = is_frozen
        os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        for sock in self._sockets:
            if self._by_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        os.close(self._wake_fd)

    def run(self, target_port: int) -> None:
        """Pass on until one side ends, or the fate says so."""
        if self._fate.black_hole:
            self._wait([])
            return
        shipper = self._sockets[0]
        backend = socket.create_connection(("127.0.0.1", target_port), 5)
        self._sockets.append(backend)
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            _Way(shipper, backend, self._fate.up_bytes),
            _Way(backend, shipper, self._fate.down_bytes),
        ]
        while self._wait(ways):
            for way in ways:
                if not self._move(way):
                    return

    def _move(self, way: _Way) -> bool:
        """Pass on what there is; False at the end."""
        if not way.held:
            try:
                way.held = way.source.recv(_PIECE_BYTES)
            except BlockingIOError:
                return True
            if not way.held:
                return False
            if self._fate.delay_s:
                time.sleep(self._fate.delay_s)
        with suppress(BlockingIOError):
            sent = way.sink.send(way.held[: way.left])
            way.held = way.held[sent:]
            if way.left is not None:
                way.left -= sent
        # Cut only where more would go on: a limit at a frame's edge loses the whole next frame.
        if way.left == 0 and way.held:
            self.met_its_fate = True
            self._by_reset = self._fate.reset
            return False
        return True

    def _wait(self, ways: list[_Way]) -> bool:
        """Until something can be moved; False once the link was cut."""
        while True:
            masks = {self._wake_fd: select.POLLIN}
            for way in [] if self._is_frozen else ways:
                sock, mask = (way.sink, select.POLLOUT) if way.held else (way.source, select.POLLIN)
                masks[sock.fileno()] = masks.get(sock.fileno(), 0) | mask
            poll = select.poll()
            for fd, mask in masks.items():
                poll.register(fd, mask)
            ready = dict(poll.poll())
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
            if self._is_cut:
                return False
            if not self._is_frozen and ready.keys() - {self._wake_fd}:
                return True
