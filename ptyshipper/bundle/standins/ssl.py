"""In place of ``ssl``: what ``uplink.tls`` uses of it, over the same module in C.

The library's own makes enums of every constant of OpenSSL's, for servers and for other protocols too,
which takes 1 MB. What a connection checks is the same, and a test compares the two.
"""

from __future__ import annotations

import _ssl
import socket
import sys
from _ssl import (
    VERIFY_X509_STRICT,
    SSLCertVerificationError,
    SSLEOFError,
    SSLError,
    SSLWantReadError,
    SSLWantWriteError,
)

__all__ = [
    "VERIFY_X509_STRICT",
    "SSLCertVerificationError",
    "SSLContext",
    "SSLEOFError",
    "SSLError",
    "SSLSocket",
    "SSLWantReadError",
    "SSLWantWriteError",
    "create_default_context",
]


class SSLSocket:
    """A client's end, not shaken hands yet, of a socket that it takes over."""

    def __init__(self, plain: socket.socket, context: SSLContext, name: str) -> None:
        self._plain = plain  # the module in C holds it weakly
        # mypy's description of the module has no methods of a context that begin with "_".
        self._tls = context._wrap_socket(plain, False, name)  # type: ignore[attr-defined] # see above
        self.do_handshake = self._tls.do_handshake
        self.fileno = plain.fileno
        self.close = plain.close
        self.send = self._tls.write

    def recv(self, size: int) -> bytes:
        """An end without a goodbye is an end, as it is by default in ``ssl``."""
        try:
            data: bytes = self._tls.read(size)
            return data
        except SSLEOFError:
            return b""


class SSLContext(_ssl._SSLContext):
    """Of a client: names and certificates are checked from the start."""

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        names = [protocol.encode("ascii") for protocol in protocols]
        listed = b"".join(bytes((len(name),)) + name for name in names)
        self._set_alpn_protocols(listed)  # type: ignore[attr-defined] # as in SSLSocket

    def wrap_socket(
        self, plain: socket.socket, *, server_hostname: bytes, do_handshake_on_connect: bool
    ) -> SSLSocket:
        assert not do_handshake_on_connect
        return SSLSocket(plain, self, server_hostname.decode("ascii"))


def create_default_context(*, capath: str) -> SSLContext:
    """Trusts what is in ``capath``."""
    context = SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= _ssl.VERIFY_X509_PARTIAL_CHAIN | VERIFY_X509_STRICT
    context.load_verify_locations(capath=capath)
    return context
