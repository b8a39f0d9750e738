"""Requests over real connections to a server that is strict, slow or gone."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from ptyshipper.config import UplinkSettings
from ptyshipper.uplink.endpoint import parse_endpoint
from ptyshipper.uplink.outcomes import Action
from ptyshipper.uplink.posting import exchange
from ptyshipper.uplink.posting.exchange import Exchange
from ptyshipper.uplink.stream import ConnectionFailed, Dialer
from tests.support.fake_anvilops import (
    CUT_IN_MID_ANSWER,
    DEPLOYMENT_ID,
    ENDLESS_BODY,
    ENDLESS_CHUNK_HEADS,
    ENDLESS_CONTINUES,
    ENDLESS_HEAD,
    NO_HTTP,
    TOKEN,
    UPGRADED,
    Answer,
    FakeAnvilOps,
    Fault,
    Raw,
)
from tests.support.fake_backend import wait_until

BODY = b'{"type":"runtime","deploymentId":%d,"hostname":"h","lines":[]}' % DEPLOYMENT_ID


@pytest.fixture
def fake() -> Iterator[FakeAnvilOps]:
    with FakeAnvilOps() as fake:
        yield fake


def exchange_with(fake: FakeAnvilOps, token: str = TOKEN) -> Exchange:
    settings = UplinkSettings(fake.url, token, None, 1.0)
    return Exchange(Dialer(parse_endpoint(fake.url), settings), token)


def wait(fd: int, for_writing: bool, share: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT if for_writing else select.POLLIN)
    if not poll.poll(5_000):
        raise TimeoutError


def test_requests_share_a_connection_and_are_as_the_api_wants_them(fake: FakeAnvilOps) -> None:
    posting = exchange_with(fake)
    for _ in range(3):
        assert posting.post(BODY, wait) == (204, 0.0)
    posting.close()
    assert fake.connections == 1
    headers = fake.requests[0].headers
    assert headers["host"] == f"127.0.0.1:{fake.port}"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://a/", "a"), ("http://a:81/", "a:81"), ("https://a/", "a"), ("https://a:80/", "a:80"),
     ("http://[::1]:3000/x", "[::1]:3000")],
)  # fmt: skip
def test_the_host_is_named_as_a_browser_names_it(url: str, host: str) -> None:
    posting = Exchange(Dialer(parse_endpoint(url), UplinkSettings(url, "t", None, 1.0)), "t")
    assert dict(posting._headers)["Host"] == host


def test_a_connection_that_is_about_to_be_closed_is_not_used_again() -> None:
    """Closed by its own side in good time: a request that meets the close may have been taken or not."""
    with FakeAnvilOps(keep_alive_s=1.05) as fake:
        posting = exchange_with(fake)
        posting.post(BODY, wait)
        assert posting.close_at_s <= time.monotonic() + 0.05 + exchange.KEEP_ALIVE_MARGIN_S
        time.sleep(max(0.0, posting.close_at_s - time.monotonic()))
        posting.post(BODY, wait)
        posting.close()
        assert fake.connections == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("timeout=5", 5.0), ("timeout=5, max=100", 5.0), ("max=3,Timeout=72", exchange.MAX_KEEP_ALIVE_S),
     ("", exchange.KEEP_ALIVE_S), ("timeout=soon", exchange.KEEP_ALIVE_S), ("timeout=0", 0.0)],
)  # fmt: skip
def test_how_long_a_connection_is_kept(header: str, seconds: float) -> None:
    assert exchange._keep_alive_s(header.encode()) == seconds


def test_an_answer_comes_with_what_it_asks_for(fake: FakeAnvilOps) -> None:
    fake.faults.append(Answer(429, (("Retry-After", "7"),)))
    posting = exchange_with(fake)
    assert posting.post(BODY, wait) == (429, 7.0)
    assert posting.post(BODY, wait).status == 204
    posting.close()


def test_a_redirect_is_not_followed(fake: FakeAnvilOps) -> None:
    with FakeAnvilOps() as elsewhere:
        fake.faults.append(Answer(307, (("Location", elsewhere.url),)))
        posting = exchange_with(fake)
        assert posting.post(BODY, wait).status == 307
        posting.close()
        assert elsewhere.requests == []


@pytest.mark.parametrize("fault", [ENDLESS_BODY, ENDLESS_CHUNK_HEADS], ids=str)
def test_an_answer_without_an_end_is_not_read_to_it(fake: FakeAnvilOps, fault: Raw) -> None:
    fake.faults.append(fault)
    posting = exchange_with(fake)
    assert posting.post(BODY, wait).status == 503
    assert posting.post(BODY, wait).status == 204
    posting.close()
    assert fake.connections == 2


@pytest.mark.parametrize(
    "fault",
    [Fault.CUT, CUT_IN_MID_ANSWER, NO_HTTP, ENDLESS_HEAD, ENDLESS_CONTINUES, UPGRADED],
    ids=str,
)
def test_what_is_no_answer_is_a_failure_that_is_retried(
    fake: FakeAnvilOps, fault: Fault | Raw
) -> None:
    fake.faults.append(fault)
    posting = exchange_with(fake)
    with pytest.raises(ConnectionFailed) as failed:
        posting.post(BODY, wait)
    assert failed.value.outcome.action is Action.RETRY
    assert TOKEN not in str(failed.value)
    assert posting.post(BODY, wait).status == 204
    posting.close()


def test_who_waits_may_end_it(fake: FakeAnvilOps) -> None:
    fake.faults.append(Fault.HANG)

    class Enough(Exception):
        pass

    def impatient(fd: int, for_writing: bool, share: float) -> None:
        if share == float("inf"):
            assert wait_until(lambda: fake.requests)
            raise Enough
        wait(fd, for_writing, share)

    posting = exchange_with(fake)
    with pytest.raises(Enough):
        posting.post(BODY, impatient)
    assert posting.post(BODY, wait).status == 204
    posting.close()


def test_what_comes_behind_an_answer_is_no_answer_to_the_next(fake: FakeAnvilOps) -> None:
    """Nor are a proxy's last words on an idle connection: the next post would count as taken."""
    posting = exchange_with(fake)
    for unasked in (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 408 Too slow\r\n\r\n"):
        fake.unasked = unasked
        assert posting.post(BODY, wait).status == 204
        fake.unasked = b""
        fake.faults.append(Answer(403))
        assert posting.post(BODY, wait).status == 403
    posting.close()


def test_a_connection_that_the_server_closed_is_opened_again_before_the_post() -> None:
    """A server that is restarted says nothing; a post into that would be lost, or worse, maybe not."""
    with FakeAnvilOps() as fake:
        posting = exchange_with(fake)
        posting.post(BODY, wait)
        fake.close_idle()
        assert posting.post(BODY, wait).status == 204
        posting.close()
        assert fake.connections == 2


class RefusingStream:
    """Of a server that answers before it has read the request, and hangs up."""

    def __init__(self) -> None:
        self.answers = [b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n", b""]
        self.sent = 0

    def fileno(self) -> int:
        return -1

    def send(self, data: memoryview, /) -> int:
        if self.sent:
            raise BrokenPipeError
        self.sent = 100
        return 100

    def recv(self, size: int, /) -> bytes:
        return self.answers.pop(0)

    def close(self) -> None:
        pass


def test_a_refusal_that_comes_before_the_request_was_read_counts(
    fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting = exchange_with(fake)
    monkeypatch.setattr(Dialer, "open", lambda *_: RefusingStream())
    assert posting.post(BODY, wait).status == 413
