"""A stream of bytes to the endpoint: TCP, and TLS over it where the endpoint asks for that.

Never blocks, but to resolve a name: it waits through the function that its owner gives it. No proxy
is ever used: the environment that names one is the program's, and the token ours.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ptyshipper.config import UplinkSettings
from ptyshipper.uplink.endpoint import Endpoint
from ptyshipper.uplink.outcomes import Outcome, Trouble, of_trouble

if TYPE_CHECKING:
    from ptyshipper.uplink.tls import Trust

Wait = Callable[[int, bool, float], None]
"""``wait(fd, for_writing, share)``: return when ``fd`` is ready; may raise to end the attempt.

``share`` of the attempt's time may be spent on it; ``TimeoutError`` is raised after that.
"""


class ConnectionFailed(Exception):
    """The attempt or the connection is over; ``outcome`` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Stream(Protocol):
    """``recv`` and ``send`` raise BlockingIOError where there is nothing to do yet."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: memoryview, /) -> int: ...
    def close(self) -> None: ...


class Dialer:
    """Opens streams to one endpoint; what TLS needs is loaded once."""

    def __init__(self, endpoint: Endpoint, settings: UplinkSettings) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._trust: Trust | None = None

    def open(self, wait: Wait) -> Stream:
        """Connect to the first address that answers, and shake hands.

        Raises:
            ConnectionFailed: with what to make of it; and whatever ``wait`` raises.
        """
        if not self.endpoint.secure:
            return self._connect(wait)
        if self._trust is None:
            self._trust = self._make_trust()
        try:
            try:
                return self._secure(self._connect(wait), self._trust, wait)
            except OSError as error:
                if not self._trust.widen(error):
                    raise
                return self._secure(self._connect(wait), self._trust, wait)
        except TimeoutError:
            raise ConnectionFailed(of_trouble(Trouble.TIMED_OUT)) from None
        except OSError as error:
            raise ConnectionFailed(self.outcome_of(error)) from None

    def outcome_of(self, error: OSError) -> Outcome:
        """What an error of a stream means."""
        if self.endpoint.secure:
            from ptyshipper.uplink import tls

            return tls.outcome_of(error) or of_trouble(Trouble.LOST)
        return of_trouble(Trouble.LOST)

    def _make_trust(self) -> Trust:
        from ptyshipper.uplink.tls import Trust

        try:
            return Trust(self._settings.ca_file, self._settings.ca_bundle)
        except OSError as error:
            detail = f"{self._settings.ca_file}: {error.strerror or 'no certificate in it'}"
            raise ConnectionFailed(of_trouble(Trouble.CA_FILE, detail)) from None

    def _connect(self, wait: Wait) -> socket.socket:
        host, port = self.endpoint.host, self.endpoint.port
        try:
            # As bytes: a str would load the codec for international names, which takes a megabyte.
            name = host.encode("ascii") if host.isascii() else host
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            text = error.strerror if isinstance(error, OSError) else None
            reason = f"{host} can't be resolved: {(text or 'no valid name').lower()}"
            raise ConnectionFailed(of_trouble(Trouble.NO_SUCH_HOST, reason)) from None
        outcome = of_trouble(Trouble.UNREACHABLE)
        for family, kind, protocol, _, address in found:
            try:
                return self._connect_to(family, kind, protocol, address, wait, 1 / len(found))
            except TimeoutError:
                outcome = of_trouble(Trouble.TIMED_OUT)
            except OSError as error:
                outcome = of_trouble(Trouble.UNREACHABLE, (error.strerror or "unreachable").lower())
        raise ConnectionFailed(outcome)

    def _connect_to(
        self, family: int, kind: int, protocol: int, address: Any, wait: Wait, share: float
    ) -> socket.socket:
        kind |= socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        plain = socket.socket(family, kind, protocol)
        try:
            code = plain.connect_ex(address)
            if code == errno.EINPROGRESS:
                wait(plain.fileno(), True, share)
                code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code != 0:
                raise OSError(code, os.strerror(code))
            # What is sent waits for nothing: the next follows the answer to it.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            plain.close()
            raise
        return plain

    def _secure(self, plain: socket.socket, trust: Trust, wait: Wait) -> Stream:
        """TLS over ``plain``, which is closed where that fails."""
        from ptyshipper.uplink.tls import TlsSocket

        stream: Stream = plain
        try:
            stream = secure = TlsSocket(plain, trust.context, self.endpoint.host)
            secure.handshake(lambda for_writing: wait(secure.fileno(), for_writing, 1.0))
        except BaseException:
            stream.close()
            raise
        return secure
