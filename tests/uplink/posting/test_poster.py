"""Spool, uplink and posts against a strict server: what is stored, when, and after what."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptyshipper import records
from ptyshipper.records import Kind
from ptyshipper.uplink import backoff
from ptyshipper.uplink.delivery import AttemptOver
from ptyshipper.uplink.posting import core, lines
from ptyshipper.uplink.posting.exchange import Exchange
from ptyshipper.uplink.posting.poster import Poster
from tests.spool.spools import die
from tests.support.fake_anvilops import (
    CUT_IN_MID_ANSWER,
    DEPLOYMENT_ID,
    ENDLESS_BODY,
    ENDLESS_CONTINUES,
    NO_HTTP,
    SLOW_DRIP,
    TOKEN,
    UPGRADED,
    Answer,
    FakeAnvilOps,
    Fault,
    Raw,
)
from tests.support.fake_backend import FakeBackend, wait_until
from tests.support.shipping import Wrapper
from tests.support.tls_front import make_authority
from tests.support.wrapping import BARE_ENVIRON

DESCRIPTION: dict[str, object] = {
    "deployment_id": DEPLOYMENT_ID,
    "type": "runtime",
    "hostname": "pod-1",
    "command": ["x"],
    "tty": False,
}

Make = Callable[..., Wrapper]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "BASE_S", 0.02)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr("tests.support.shipping.TOKEN", TOKEN)
    made: list[Wrapper] = []

    def make(*args: object, **kwargs: object) -> Wrapper:
        described = {**DESCRIPTION, "started_at_us": time.time_ns() // 1000}
        made.append(Wrapper(*args, **{"description": described, **kwargs}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for wrapper in made:
        wrapper.close()


@pytest.fixture
def fake() -> Iterator[FakeAnvilOps]:
    with FakeAnvilOps() as fake:
        yield fake


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def contents(first: int, count: int) -> list[str]:
    return [f"line {number}" for number in range(first, first + count)]


def test_an_endpoint_without_a_websocket_gets_posts(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    wrapper = make(fake.url, tmp_path)
    wrapper.start()
    for at in range(0, 3000, 100):
        wrapper.write(numbered(at, 100))
    wrapper.write(b"oops\n", Kind.STDERR)
    wrapper.write(b"no newline")
    assert wrapper.exit() < 5
    assert wrapper.uplink.delivered
    assert fake.shown("stdout") == [*contents(0, 3000), "no newline"]
    assert fake.shown("stderr") == ["oops"]
    assert {(row.hostname, row.log_type) for row in fake.rows} == {("pod-1", "runtime")}
    fake.check_order()
    assert [request.method for request in fake.requests][:2] == ["GET", "POST"]
    assert fake.most_in_flight == 1
    assert wrapper.warnings == []
    wrapper.close()
    assert list(tmp_path.iterdir()) == []


def test_timestamps_are_the_wall_clock_s(make: Make, fake: FakeAnvilOps) -> None:
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.rows)
    assert abs(fake.rows[0].timestamp - time.time() * 1000) < 2_000


def test_the_transport_can_be_chosen(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "WEBSOCKET_AGAIN_S", 0.0)  # where it may, it asks after each post
    wrapper = make(fake.url, transport="http")
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.rows)
    wrapper.exit()
    assert wrapper.uplink.delivered
    assert {request.method for request in fake.requests} == {"POST"}
    other = make(fake.url, transport="websocket")
    other.start()
    other.write(b"y\n")
    assert wait_until(lambda: other.warnings)
    assert "speaks no WebSocket (HTTP 405); will try again in minutes" in other.warnings[0]
    assert fake.shown() == ["x"]


@pytest.mark.parametrize("transport", ["auto", "http"])
def test_without_a_deployment_it_is_said_once_and_nothing_is_posted(
    make: Make, fake: FakeAnvilOps, transport: str
) -> None:
    wrapper = make(
        fake.url, transport=transport, description={**DESCRIPTION, "deployment_id": None}
    )
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: wrapper.warnings)
    assert wrapper.exit() < 1
    (warning,) = wrapper.warnings
    assert "posts need a deployment id" in warning
    assert [request for request in fake.requests if request.method == "POST"] == []


def test_an_isolated_line_is_posted_at_once(make: Make, fake: FakeAnvilOps) -> None:
    wrapper = make(fake.url)
    wrapper.start()
    for number in range(20):
        wrapper.write(b"%d\n" % number)
        assert wait_until(lambda number=number: len(fake.posts) > number)


def test_an_idle_line_s_connection_was_closed_by_nobody_but_us(make: Make) -> None:
    """The server's own close would meet a request some day; and then who knows whether it was taken."""
    with FakeAnvilOps(keep_alive_s=1.5) as fake:
        wrapper = make(fake.url)
        wrapper.start()
        for number in range(2):
            wrapper.write(b"%d\n" % number)
            assert wait_until(lambda number=number: len(fake.rows) > number)
            time.sleep(1.8)
        wrapper.write(b"2\n")
        wrapper.exit()
        assert fake.shown() == ["0", "1", "2"]
        assert fake.idle_closes == 0
        assert len({request.connection for request in fake.posts}) == 3
        assert wrapper.warnings == []


def test_what_was_begun_is_posted_after_a_moment_of_silence(make: Make, fake: FakeAnvilOps) -> None:
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(b"Continue? ")
    began_s = time.monotonic()
    assert wait_until(lambda: fake.rows)
    assert 0.4 < fake.rows[0].arrived_s - began_s < 2
    wrapper.write(b"yes\n")
    assert wait_until(lambda: len(fake.rows) == 2)
    assert fake.shown() == ["Continue? ", "yes"]


def test_a_terminal_s_progress_bar_is_one_line(make: Make, fake: FakeAnvilOps) -> None:
    for colours, shown in (("remove", "100%"), ("keep", "\x1b[32m100%")):
        fake.rows.clear()
        wrapper = make(fake.url, colours=colours)
        wrapper.start()
        for percent in range(101):
            wrapper.write(b"\r\x1b[32m%3d%%" % percent, Kind.TTY)
            time.sleep(0.006)
        wrapper.write(b"\r\n", Kind.TTY)
        wrapper.exit()
        assert fake.shown() == [shown]


def test_poison_is_left_out_and_said_once(make: Make, fake: FakeAnvilOps) -> None:
    fake.poison = lambda content: content in ("line 77", "line 300")
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(numbered(0, 400))
    wrapper.write(numbered(400, 10))
    wrapper.exit()
    assert wrapper.uplink.delivered
    notice = "ptyshipper: a line was refused (HTTP 500) and is left out"
    assert fake.shown() == [
        notice if content in ("line 77", "line 300") else content for content in contents(0, 410)
    ]
    assert fake.shown("stderr") == [notice] * 2
    fake_order = sorted({(row.timestamp, row.post) for row in fake.rows})
    stamps = [stamp for stamp, _ in fake_order]
    assert len(set(stamps)) == len(stamps), "no two posts share a millisecond"
    said = [warning for warning in wrapper.warnings if "HTTP 500), which is left out" in warning]
    assert len(said) == 1
    assert sum("refused 2 lines in all" in warning for warning in wrapper.warnings) == 1


@pytest.mark.parametrize(
    "fault",
    [Answer(429), Answer(502), Answer(503, (("Retry-After", "0"),)), Answer(500), Fault.CUT,
     CUT_IN_MID_ANSWER, NO_HTTP, ENDLESS_BODY, ENDLESS_CONTINUES, UPGRADED],
    ids=str,
)  # fmt: skip
def test_what_passes_is_retried_and_every_line_is_stored_once(
    make: Make, fake: FakeAnvilOps, fault: Fault | Answer | Raw
) -> None:
    fake.faults.extend([fault, fault, None, fault])
    wrapper = make(fake.url)
    wrapper.start()
    for at in range(5):
        wrapper.write(numbered(at * 100, 100))
        time.sleep(0.02)
    wrapper.exit()
    assert wrapper.uplink.delivered
    assert fake.shown() == contents(0, 500)
    fake.check_order()


def test_a_last_line_that_is_refused_does_not_hold_up_the_end(
    make: Make, fake: FakeAnvilOps
) -> None:
    fake.poison = lambda content: content == "bad"
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(b"good\nbad\n")
    assert wrapper.exit() < 5
    assert wrapper.uplink.delivered
    assert fake.shown() == ["good", "ptyshipper: a line was refused (HTTP 500) and is left out"]


def test_a_leftover_that_is_refused_makes_way_for_the_next(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    """Of a session that left one line, and that line is refused, the reader is told where he looks."""
    for text in (b"bad\n", b"bad as well\n"):
        fake.broken = Answer(503)
        dead = make(fake.url, tmp_path, timeout_s=0.0)
        dead.start()
        dead.write(text)
        dead.exit()
        dead.close()
    fake.broken = None
    fake.poison = lambda content: content.startswith("bad")
    wrapper = make(fake.url, tmp_path)
    wrapper.start()
    notice = "ptyshipper: a line was refused (HTTP 500) and is left out"
    assert wait_until(lambda: fake.shown() == [notice] * 2)
    wrapper.exit()
    wrapper.close()
    assert list(tmp_path.iterdir()) == []


def test_stored_but_500_doubles_its_batch_and_nothing_else(make: Make, fake: FakeAnvilOps) -> None:
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(numbered(0, 10))
    assert wait_until(lambda: len(fake.rows) == 10)
    fake.faults.append(Fault.STORED_BUT_500)
    wrapper.write(numbered(10, 10))
    assert wait_until(lambda: len(fake.rows) == 30)
    wrapper.write(numbered(20, 10))
    wrapper.exit()
    expected = [
        *contents(0, 10),
        *[c for c in contents(10, 10) for _ in range(2)],
        *contents(20, 10),
    ]
    assert fake.shown() == expected


def test_an_outage_longer_than_the_program_leaves_the_rest_to_the_next(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    first = make(fake.url, tmp_path, timeout_s=0.3)
    first.start()
    first.write(numbered(0, 10))
    assert wait_until(lambda: len(fake.rows) == 10)
    fake.broken = Answer(503)
    first.write(numbered(10, 10))
    first.exit()
    assert not first.uplink.delivered
    first.close()
    # What it sent last may not have been refused yet.
    assert wait_until(lambda: fake.open_connections == 0)
    fake.broken = None
    second = make(fake.url, tmp_path)
    second.start()
    second.write(b"of the second\n")
    assert wait_until(lambda: len(fake.rows) == 21)
    second.exit()
    assert fake.shown() == [*contents(0, 20), "of the second"]
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_wrapper_repeats_nothing_that_was_taken(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    """Not even of a record that was taken in part, or of a stream that waits in mid-line."""
    first = make(fake.url, tmp_path)
    first.start()
    first.write(b"begun on stderr, ", Kind.STDERR)
    first.write(numbered(0, 600))
    assert wait_until(lambda: len(fake.posts) >= 1)
    fake.broken = Answer(503)
    assert wait_until(lambda: fake.requests[-1].status == 503)
    fake.broken = None
    taken = len(fake.rows)
    assert taken > 0
    die_like_a_kill(first)
    second = make(fake.url, tmp_path)
    second.start()
    second.write(b"of the second\n")
    assert wait_until(lambda: any("stderr" in row.content for row in fake.rows))
    second.exit()
    stdout = [content for content in fake.shown("stdout") if content != "of the second"]
    assert stdout == contents(0, 600)
    assert fake.shown("stderr") == ["begun on stderr, "]


def die_like_a_kill(wrapper: Wrapper) -> None:
    """What it has noted by now is all that a successor has."""
    wrapper.uplink._settings = wrapper.uplink._settings._replace(flush_timeout_s=0.0)
    wrapper.uplink.finish()
    assert wait_until(lambda: wrapper.uplink.is_idle)
    wrapper._is_closed = True
    die(wrapper.spool)


def test_what_overflowed_while_the_backend_was_away_is_a_visible_line(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    fake.broken = Answer(503)
    wrapper = make(fake.url, tmp_path, max_bytes=2**19)
    wrapper.start()
    for at in range(0, 200_000, 1_000):
        wrapper.write(numbered(at, 1_000))
    fake.broken = None
    wrapper.exit()
    assert wrapper.uplink.delivered
    (gap,) = fake.shown("stderr")
    found = re.fullmatch(r"ptyshipper: (\d+) bytes lost: the spool was full", gap)
    assert found is not None
    stored_bytes = sum(len(content) + 1 for content in fake.shown("stdout"))
    assert stored_bytes + int(found[1]) == len(wrapper.written)


def test_a_backend_that_is_upgraded_under_it_gets_the_rest_by_websocket(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the beginning of what is still held; what is not is a gap there."""
    monkeypatch.setattr(core, "WEBSOCKET_AGAIN_S", 0.2)
    with FakeBackend() as backend:
        wrapper = make(fake.url, tmp_path)
        wrapper.start()
        wrapper.write(numbered(0, 10))
        assert wait_until(lambda: len(fake.rows) == 10)
        fake.websocket = backend
        assert wait_until(lambda: backend.sessions)
        wrapper.write(numbered(10, 10))
        wrapper.exit()
        assert wrapper.uplink.delivered
        session = backend.sessions[wrapper.session_id]
        lost = sum(gap.lost_bytes for gap in session.gaps())
        assert session.output() == wrapper.written[lost:]
        assert fake.shown() == contents(0, 10)


def test_a_backend_that_loses_its_websocket_gets_what_that_did_not_deliver(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "WEBSOCKET_AGAIN_S", 60.0)
    with FakeBackend() as backend, FakeAnvilOps(websocket=backend) as fake:
        wrapper = make(fake.url, tmp_path)
        wrapper.start()
        wrapper.write(numbered(0, 10))
        assert wait_until(wrapper.is_acknowledged)
        fake.websocket = None
        with fake.lock:
            for sock in fake._open:
                sock.shutdown(2)
        wrapper.write(numbered(10, 10))
        wrapper.exit()
        assert wrapper.uplink.delivered
        assert fake.shown() == contents(10, 10)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl(1)")
def test_over_tls(make: Make, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with FakeAnvilOps(tls=context) as fake:
        wrapper = make(fake.url, ca_file=authority)
        wrapper.start()
        wrapper.write(numbered(0, 2000))
        wrapper.exit()
        assert wrapper.uplink.delivered
        assert fake.shown() == contents(0, 2000)
        assert len({request.connection for request in fake.posts}) == 1


def test_no_proxy_and_no_token_in_any_message(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fake.broken = Answer(403)
    wrapper = make(fake.url, transport="http")
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: wrapper.warnings)
    assert wrapper.exit() < 1
    (warning,) = wrapper.warnings
    assert "the token is not accepted here (HTTP 403)" in warning
    assert TOKEN not in warning


@pytest.mark.parametrize(
    "fault",
    [Fault.HANG, SLOW_DRIP, Answer(503), Answer(429, (("Retry-After", "60"),))],
    ids=str,
)
def test_a_backend_that_does_not_take_it_holds_up_the_end_no_longer_than_the_deadline(
    make: Make, fake: FakeAnvilOps, fault: Fault | Answer | Raw
) -> None:
    fake.broken = None
    wrapper = make(fake.url, timeout_s=0.7)
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.rows)
    fake.broken = fault
    wrapper.write(b"y\n")
    assert wrapper.exit() < 1.2
    assert not wrapper.uplink.delivered
    assert len(wrapper.warnings) == 1


@pytest.mark.parametrize("fault", [Fault.HANG, SLOW_DRIP], ids=str)
def test_a_post_that_is_not_answered_in_time_is_sent_again(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch, fault: Fault | Raw
) -> None:
    monkeypatch.setattr(core, "ANSWER_TIMEOUT_S", 0.2)
    failed: list[object] = []
    monkeypatch.setattr(Exchange, "post", noting_failures(Exchange.post, failed))
    fake.faults.append(fault)
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.shown() == ["x"])
    assert [type(failure) for failure in failed] == [AttemptOver]


def noting_failures(post: Callable[..., object], failed: list[object]) -> Callable[..., object]:
    def noting(*args: object) -> object:
        try:
            return post(*args)
        except BaseException as failure:
            failed.append(failure)
            raise

    return noting


def test_after_a_failure_the_next_post_has_a_connection_of_its_own(
    make: Make, fake: FakeAnvilOps
) -> None:
    """Behind one address are several replicas, and a connection is to one of them."""
    fake.faults.append(Answer(503))
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.rows)
    refused, taken = (request for request in fake.requests if request.line_count)
    assert refused.connection != taken.connection


def test_leftovers_wait_until_the_backend_has_taken_something(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    fake.broken = Answer(403)
    wrapper = make(fake.url, tmp_path, transport="http")
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: wrapper.warnings)
    assert not wrapper.uplink._has_started_leftovers


def test_a_stream_that_waits_in_mid_line_does_not_fill_a_small_spool(
    make: Make, fake: FakeAnvilOps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing behind its beginning can be released until it is given."""
    monkeypatch.setattr(lines, "SILENCE_US", 10**12)
    wrapper = make(fake.url, tmp_path, max_bytes=2**19)
    wrapper.start()
    wrapper.write(b"begun", Kind.STDERR)
    for number in range(20):
        wrapper.write(b"%d" % number + b"x" * 50_000 + b"\n")
        assert wait_until(lambda number=number: len(fake.shown("stdout")) > number)
    assert fake.shown("stderr") == ["begun"]


def test_an_upgrade_that_is_answered_by_and_by_is_given_up_in_time(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptyshipper.uplink.core.CONNECT_TIMEOUT_S", 0.2)
    fake.broken = SLOW_DRIP
    wrapper = make(fake.url)
    wrapper.start()
    assert wait_until(lambda: fake.connections >= 2)
    assert any("no answer in time; retrying" in warning for warning in wrapper.warnings)


def test_an_answer_and_the_end_may_come_at_once(
    make: Make, fake: FakeAnvilOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wakes up late finds both, and is told of the end only once."""
    poll = Poster._poll

    def late(self: Poster, until_s: float) -> list[tuple[int, int]]:
        time.sleep(0.05)
        return poll(self, until_s)

    monkeypatch.setattr(Poster, "_poll", late)
    wrapper = make(fake.url)
    wrapper.start()
    for number in range(5):
        wrapper.write(b"%d\n" % number)
        assert wait_until(lambda number=number: len(fake.rows) > number)
    assert wrapper.exit() < 2
    assert wrapper.uplink.delivered


def test_nothing_happens_while_nothing_happens(make: Make) -> None:
    """The thread is not even scheduled, once the idle connection is closed."""
    with FakeAnvilOps(keep_alive_s=1.1) as fake:
        wrapper = make(fake.url)
        before = set(os.listdir("/proc/self/task"))
        wrapper.start()
        wrapper.write(b"x\n")
        assert wait_until(lambda: fake.rows)
        time.sleep(0.5)
        others = set(os.listdir("/proc/self/task")) - before
        status = {
            task: Path(f"/proc/self/task/{task}/status").read_text().split("switches")[1:]
            for task in others
            if Path(f"/proc/self/task/{task}/comm").exists()
        }
        time.sleep(0.5)
        now = {
            task: Path(f"/proc/self/task/{task}/status").read_text().split("switches")[1:]
            for task in status
        }
        assert now == status


def test_nothing_of_it_is_loaded_while_a_websocket_takes_all(make: Make, tmp_path: Path) -> None:
    """h11 and what goes with it take a third of a megabyte."""
    program = (
        "import sys, threading, time\n"
        "from tests.support.fake_backend import FakeBackend\n"
        "from tests.support.shipping import Wrapper\n"
        "with FakeBackend() as backend:\n"
        "    wrapper = Wrapper(backend.url)\n"
        "    wrapper.start(); wrapper.write(b'x\\n'); wrapper.exit(); wrapper.close()\n"
        "    assert wrapper.uplink.delivered\n"
        "print([name for name in sys.modules if 'posting' in name or name == 'h11'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=BARE_ENVIRON,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == b"[]\n", done.stderr


def test_two_sessions_take_turns(make: Make, tmp_path: Path) -> None:
    """A live view reads the newest 500 rows when a post notifies it."""
    with FakeAnvilOps(real_speed=True) as fake:
        first = make(fake.url, tmp_path, timeout_s=0.0)
        fake.broken = Answer(503)
        first.start()
        for at in range(0, 10_000, 1_000):
            first.write(numbered(at, 1_000))
        first.exit()
        first.close()
        # Not in_flight alone: what the first sent last may not have been read yet.
        assert wait_until(lambda: fake.open_connections == 0)
        fake.broken = None
        fake.most_in_flight = 0
        second = make(fake.url, tmp_path, timeout_s=20.0)
        second.start()
        for number in range(100):
            second.write(b"second %d\n" % number)
            time.sleep(0.005)
        second.exit()
        assert len(fake.rows) == 10_100
        assert fake.most_in_flight == 1


def test_a_session_whose_post_hangs_does_not_hold_up_another(
    make: Make, fake: FakeAnvilOps
) -> None:
    wrapper = make(fake.url)
    assert wrapper.uplink._post_turn.take(0)  # as a post that hangs does, for half a minute
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.rows)


def test_the_next_post_is_made_ready_while_the_backend_works(
    make: Make, fake: FakeAnvilOps
) -> None:
    fake.broken = Fault.HANG
    wrapper = make(fake.url, transport="http", timeout_s=0.2)
    for _ in range(10):
        wrapper.write((b"x" * 999 + b"\n") * 30)
    wrapper.start()
    assert wait_until(lambda: fake.requests)
    assert fake.requests[0].line_count < 100, "of 300, since a post takes so many bytes"
    delivery = wrapper.uplink._own
    assert isinstance(delivery, Poster)
    assert wait_until(lambda: delivery._gatherer.read_offset > 180_000), "two posts' lines"
    assert len(fake.requests) == 1


def test_memory_is_bounded_while_the_backend_hangs(
    make: Make, fake: FakeAnvilOps, tmp_path: Path
) -> None:
    fake.broken = Fault.HANG
    wrapper = make(fake.url, tmp_path, timeout_s=0.2, max_bytes=2**20, transport="http")
    wrapper.start()
    wrapper.write(b"x\n")
    assert wait_until(lambda: fake.requests)
    before = resident_bytes()
    for _ in range(500):
        wrapper.write_record(Kind.STDOUT, os.urandom(30_000) + b"\n" * 30_000)
    assert resident_bytes() - before < 8 * 2**20
    wrapper.exit()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_the_record_of_the_exit_is_settled_too(make: Make, fake: FakeAnvilOps) -> None:
    wrapper = make(fake.url)
    wrapper.start()
    wrapper.write_record(Kind.RESIZED, records.resized(80, 24))
    wrapper.exit()
    assert wrapper.uplink.delivered
    assert wrapper.is_acknowledged()
    assert fake.rows == []
