"""The backend's certificate: read at the start, and again on SIGHUP for the connections that follow."""

from __future__ import annotations

import ssl
from pathlib import Path

from ptyshipper.errors import BackendError


class Certificate:
    """What ``context`` shows to whoever connects.

    Raises:
        BackendError: the files can't be read, or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self.context = self._read()

    def reload(self) -> None:
        """Read the files again.

        Raises:
            BackendError: as above; the certificate is the one that it was.
        """
        self._read()  # into a context of its own: half a change must not reach the one in use
        self._load(self.context)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(self._certificate, self._key, password="")
        except ssl.SSLError as error:
            raise BackendError(
                f"can't use the certificate {self._named()}: {_reason(error)};"
                " give PEM files that belong together, the key without a password"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BackendError(f"can't read the certificate {self._named()}: {reason}") from None

    def _named(self) -> str:
        key = "" if self._key is None else f" with the key {self._key}"
        return f"{self._certificate}{key}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
