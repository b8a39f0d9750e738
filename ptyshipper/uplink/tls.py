"""TLS over a non-blocking socket, in the terms of a plain one.

Imported only where the endpoint asks for it: ``ssl`` takes 6 MB.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptyshipper.uplink.outcomes import Outcome, Trouble, of_trouble

IMAGE_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, distroless
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # BSD, and Alpine without its package
    "/etc/ssl/certs",
)
"""Where an image keeps the certificates it trusts; the first that is there counts. The OpenSSL of the
bundle knows only the place of the system that it was built on. A file with all of them comes before
the directory in which OpenSSL finds each by its hash: reading it takes 2 MB, but it is the file over
which people mount their own, or to which they append."""

_MAX_STORE_BYTES = 4 * 2**20


def make_context(ca_file: Path | None, ca_bundle: str | None = None) -> ssl.SSLContext:
    """Verifies against the system's certificates, and those of ``ca_file`` beside them.

    In a bundle the system's are those in the directory ``ca_bundle``, and what the image trusts.

    Raises:
        OSError: ``ca_file`` can't be read, or holds no certificate (``ssl.SSLError``).
    """
    if ca_bundle is None:
        context = ssl.create_default_context()
    else:
        context = ssl.create_default_context(capath=ca_bundle)
        _trust_image(context)
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _trust_image(context: ssl.SSLContext) -> None:
    """Trust what the image trusts. It may hold anything, or nothing, at these places."""
    for path in IMAGE_STORES:
        try:
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                context.load_verify_locations(capath=path)
                return
            if stat.S_ISREG(found.st_mode) and found.st_size <= _MAX_STORE_BYTES:
                context.load_verify_locations(cafile=path)
                return
        except OSError:  # ssl.SSLError is one
            pass


def outcome_of(error: OSError) -> Outcome | None:
    """What an error of TLS means; None for one of the socket below."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return of_trouble(Trouble.CERTIFICATE, error.verify_message)
    if isinstance(error, ssl.SSLEOFError):
        return of_trouble(Trouble.LOST)
    if isinstance(error, ssl.SSLError):
        return of_trouble(Trouble.TLS, (error.reason or "failed").replace("_", " ").lower())
    return None


class TlsSocket:
    """``recv`` and ``send`` raise BlockingIOError where there is nothing to do yet."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, host: str) -> None:
        # As bytes, of which ssl believes that they are ASCII (``config`` made sure): a str would load
        # the codec for international names, which takes a megabyte, and is not in the bundle.
        name: Any = host.encode("ascii")
        self._socket = context.wrap_socket(
            plain, server_hostname=name, do_handshake_on_connect=False
        )

    def handshake(self, wait: Callable[[bool], None]) -> None:
        """Shake hands; ``wait(for_writing)`` returns when the socket is ready.

        Raises:
            OSError: it failed; see ``outcome_of``.
        """
        while True:
            try:
                self._socket.do_handshake()
            except ssl.SSLWantReadError:
                wait(False)
            except ssl.SSLWantWriteError:
                wait(True)
            else:
                return

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv(self, size: int) -> bytes:
        try:
            return self._socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def close(self) -> None:
        self._socket.close()
