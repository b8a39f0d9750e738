"""Where the backend listens: for everybody who may reach it, and for this machine's own commands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from ptyshipper.backend.tls import Certificate
from ptyshipper.errors import BackendError
from ptyshipper.serve_config import ServeSettings

BACKLOG = 4_096


class Listeners(NamedTuple):
    """Where connections come in. ``local`` is for the commands of this machine: the same, but with TLS
    one without it on the loopback, since a certificate names the host that others know."""

    public: socket.socket
    local: socket.socket
    certificate: Certificate | None

    @property
    def url(self) -> str:
        return _url(self.public, "http" if self.certificate is None else "https")

    @property
    def local_url(self) -> str:
        return _url(self.local, "http")

    def check_unreachable(self) -> None:
        """Nobody but this machine can connect.

        Raises:
            BackendError: others can.
        """
        host = self.public.getsockname()[0]
        if not ip_address(host.partition("%")[0]).is_loopback:
            raise BackendError(
                f"others can reach {host}, and no token lets a shipper in yet;"
                " make one first, with: ptyshipper token create --deployment N"
            )


@contextmanager
def listening(settings: ServeSettings) -> Iterator[Listeners]:
    with ExitStack() as stack:
        if settings.tls_cert is None:
            public = stack.enter_context(_listening(settings.host, settings.port))
            yield Listeners(public, public, None)
            return
        certificate = Certificate(settings.tls_cert, settings.tls_key)
        public = stack.enter_context(_listening(settings.host, settings.port))
        local = stack.enter_context(_listening("127.0.0.1", 0))
        yield Listeners(public, local, certificate)


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
            listener.listen(BACKLOG)
        except OSError as error:
            raise BackendError(f"can't listen on {host} port {port}: {error.strerror}") from None
        yield listener


def _url(listener: socket.socket, scheme: str) -> str:
    """Where this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
