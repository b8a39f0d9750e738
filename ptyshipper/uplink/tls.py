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


class Trust:
    """Whose certificates are believed: the system's, and those of ``ca_file`` beside them.

    In a bundle the system's are those in the directory ``ca_bundle``; what the image trusts comes in
    with ``widen``.

    Raises:
        OSError: ``ca_file`` can't be read, or holds no certificate (``ssl.SSLError``).
    """

    def __init__(self, ca_file: Path | None, ca_bundle: str | None = None) -> None:
        self._may_widen = ca_bundle is not None
        self.context = ssl.create_default_context(capath=ca_bundle)
        # Set by default from Python 3.13 on: it refuses authorities that lack an extension of RFC 5280's,
        # as many a private one does. Browsers and curl take them.
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.context.set_alpn_protocols(["http/1.1"])
        if ca_file is not None:
            self.context.load_verify_locations(cafile=ca_file)

    def widen(self, error: OSError) -> bool:
        """Whether to try again after ``error``, since now the image's certificates count, too.

        Not before a server needs them: a file with all of them takes 2 MB once it is read.
        """
        if not self._may_widen or not isinstance(error, ssl.SSLCertVerificationError):
            return False
        self._may_widen = False
        return self._trust_image()

    def _trust_image(self) -> bool:
        """The image may hold anything, or nothing, at these places."""
        for path in IMAGE_STORES:
            try:
                found = os.stat(path)
                if stat.S_ISDIR(found.st_mode):
                    self.context.load_verify_locations(capath=path)
                    return True
                if stat.S_ISREG(found.st_mode) and found.st_size <= _MAX_STORE_BYTES:
                    self.context.load_verify_locations(cafile=path)
                    return True
            except OSError:  # ssl.SSLError is one
                pass
        return False


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
