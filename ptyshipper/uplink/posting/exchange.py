"""Requests and their answers over one HTTP/1.1 connection at a time, opened again where it was closed.

Redirects are not followed: the token must not go to wherever one points.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import h11

from ptyshipper import __version__
from ptyshipper.uplink.outcomes import Trouble, of_trouble
from ptyshipper.uplink.retry_after import retry_after_s
from ptyshipper.uplink.stream import ConnectionFailed, Dialer, Stream, Wait

KEEP_ALIVE_S = 5.0
"""What Node closes an idle connection after, if it does not say."""
KEEP_ALIVE_MARGIN_S = 1.0
"""A request must not meet the close on its way: whether it was taken, nobody could tell."""
MAX_KEEP_ALIVE_S = 60.0

_RECEIVE_BYTES = 16_384
_MAX_ANSWER_BYTES = 65_536
"""With head and framing: whatever a server sends without an end, there is an end to reading it."""
_FOREVER = float("inf")


class Answer(NamedTuple):
    """``retry_after_s`` is how much later it asks to come again."""

    status: int
    retry_after_s: float


class Exchange:
    """``post``, as often as one likes; ``close`` at any time. ``close_at_s`` is when an idle connection
    is to be closed, on the monotonic clock."""

    def __init__(self, dialer: Dialer, token: str) -> None:
        self.close_at_s = _FOREVER
        self._dialer = dialer
        endpoint = dialer.endpoint
        default_port = 443 if endpoint.secure else 80
        name = endpoint.name
        self._target = endpoint.resource
        self._headers = [
            ("Host", name.removesuffix(f":{default_port}")),
            ("Authorization", f"Bearer {token}"),
            ("Content-Type", "application/json"),
            ("User-Agent", f"ptyshipper/{__version__}"),
        ]
        self._stream: Stream | None = None
        self._http = h11.Connection(h11.CLIENT)
        self._keep_alive_s = KEEP_ALIVE_S

    def post(self, body: bytes, wait: Wait) -> Answer:
        """Send ``body``, and wait for the whole answer.

        Raises:
            ConnectionFailed: there was none; and whatever ``wait`` raises.
        """
        if self._stream is not None and not self._may_be_used_again(self._stream):
            self.close()
        self.close_at_s = _FOREVER
        try:
            if self._stream is None:
                self._stream = self._dialer.open(wait)
                self._http = h11.Connection(h11.CLIENT)
            self._send(self._stream, body, wait)
            answer = self._receive(self._stream, wait)
        except h11.RemoteProtocolError:
            self.close()
            raise ConnectionFailed(of_trouble(Trouble.NOT_HTTP)) from None
        except OSError as error:
            self.close()
            raise ConnectionFailed(self._dialer.outcome_of(error)) from None
        except BaseException:
            self.close()
            raise
        is_over = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if is_over and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self.close_at_s = time.monotonic() + self._keep_alive_s - KEEP_ALIVE_MARGIN_S
        else:
            self.close()
        return answer

    def close(self) -> None:
        stream, self._stream = self._stream, None
        self.close_at_s = _FOREVER
        if stream is not None:
            stream.close()

    def _may_be_used_again(self, stream: Stream) -> bool:
        """Whether it is still open, and the next to come over it will be the answer to the next request.

        A server that is restarted, or a proxy that tells of the time being up, says so unasked.
        """
        if time.monotonic() >= self.close_at_s:
            return False
        try:
            stream.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _send(self, stream: Stream, body: bytes, wait: Wait) -> None:
        headers = [*self._headers, ("Content-Length", str(len(body)))]
        request = h11.Request(method="POST", target=self._target, headers=headers)
        head = self._http.send(request) or b""
        data = self._http.send(h11.Data(data=body)) or b""
        self._http.send(h11.EndOfMessage())
        unsent = memoryview(head + data)
        while unsent:
            try:
                unsent = unsent[stream.send(unsent) :]
            except BlockingIOError:
                wait(stream.fileno(), True, _FOREVER)
            except (BrokenPipeError, ConnectionResetError):
                return  # a refusal may have come before the request was read

    def _receive(self, stream: Stream, wait: Wait) -> Answer:
        answer: Answer | None = None
        size_bytes = 0
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA if size_bytes > _MAX_ANSWER_BYTES:
                    if answer is None:
                        raise ConnectionFailed(of_trouble(Trouble.NOT_HTTP))
                    return answer  # unread to its end, so the connection is not used again
                case h11.NEED_DATA:
                    data = self._part(stream, wait)
                    if not data and self._http.their_state is h11.SEND_RESPONSE:
                        raise ConnectionFailed(of_trouble(Trouble.LOST))
                    size_bytes += len(data)
                    self._http.receive_data(data)
                case h11.Response():
                    headers = dict(event.headers)
                    answer = Answer(event.status_code, retry_after_s(headers))
                    self._keep_alive_s = _keep_alive_s(headers.get(b"keep-alive", b""))
                case h11.EndOfMessage() if answer is not None:
                    return answer
                case _:
                    pass  # 100 Continue and the like, or a part of the body

    def _part(self, stream: Stream, wait: Wait) -> bytes:
        while True:
            try:
                return stream.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                wait(stream.fileno(), False, _FOREVER)


def _keep_alive_s(header: bytes) -> float:
    """How long the other side keeps an idle connection; source: RFC 2068 section 19.7.1.1."""
    for word in header.replace(b",", b" ").split():
        name, _, value = word.partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return min(float(value[:9]), MAX_KEEP_ALIVE_S)
    return KEEP_ALIVE_S
