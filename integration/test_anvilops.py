"""AnvilOps as it stands, which takes only HTTP posts: what its Go wrapper loses, this one delivers.

The fake answers as the real ingest does, at the real one's speed where a test says so. What AnvilOps' own
wrapper did in the same place was recorded before:

============================================  ====================================================
program                                       Go wrapper (recorded)
============================================  ====================================================
an isolated line                              stored after 504 ms
``seq 10000``, exits at once                  median 0 lines stored
``seq 100000``                                88,500 to 89,000 lines, exit status 2 in 5 of 5
``seq 1000000``                               about 989,750 lines in 169 s, exit status 2
20 lines, then exit, 50 times                 648 of 1,000 lines
a line of 65,536 bytes or more                never read again, the program hangs
500 lines that average over 144 characters    all 500 lost
a NUL in one line                             its whole batch lost
last upload fails                             exit status replaced by 2 in 17 of 20
backend away for 30 s                         662 of 900 lines lost
============================================  ====================================================

``PTYSHIPPER_LONG=1`` makes it a million lines, a thousand runs and outages of a minute.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.bundle import BUNDLE, install, lacking
from tests.support.fake_anvilops import (
    DEPLOYMENT_ID,
    MAX_BODY_BYTES,
    TOKEN,
    Answer,
    FakeAnvilOps,
    Fault,
)
from tests.support.patience import PATIENCE_S, until
from tests.support.running import Running, kill_all
from tests.support.wrapping import BARE_ENVIRON, LOG_SHIPPER, run

LONG = os.environ.get("PTYSHIPPER_LONG") == "1"
SEED = int(os.environ.get("PTYSHIPPER_SEED") or random.SystemRandom().randrange(1, 2**31))
OUTAGE_S = 60.0 if LONG else 4.0
"""How long the backend is away; the length itself is what is tested."""
STATUS = 7
PREFIX = "_PRIVATE_ANVILOPS_LOG_"


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    kill_all()


def environ(url: str, spool: Path, **settings: str) -> dict[str, str]:
    """A container's, as today's AnvilOps sets it, but for what a test adds."""
    given = {
        "endpoint": url,
        "token": TOKEN,
        "type": "runtime",
        "deployment_id": str(DEPLOYMENT_ID),
        "spool_dir": str(spool),
        "flush_timeout_s": "300",
        **settings,
    }
    return BARE_ENVIRON | {PREFIX + name.upper(): value for name, value in given.items()}


def python(program: str, *words: str) -> list[str]:
    return [*LOG_SHIPPER, sys.executable, "-I", "-S", "-c", program, *words]


def wrap(fake: FakeAnvilOps, tmp_path: Path, *argv: str, **settings: str) -> Running:
    return Running([*LOG_SHIPPER, *argv], environ(fake.url, tmp_path / "spool", **settings))


PRINT = f"""
import sys, time
count, pause_ms = int(sys.argv[1]), float(sys.argv[2])
for number in range(count):
    print(f"line {{number}}", flush=pause_ms > 0)
    time.sleep(pause_ms / 1000)
sys.exit({STATUS})
"""


def lines(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def check_ended(running: Running, status: int, warnings: int = 0) -> None:
    """The program's own status, and nothing said but for so many warnings."""
    assert running.wait(400) == status, running.warnings
    assert len(running.warnings) == warnings, running.warnings


@pytest.mark.parametrize("count", [10_000, 100_000] + ([1_000_000] if LONG else []))
def test_every_line_of_a_flood_is_stored_whatever_the_server_s_speed(
    tmp_path: Path, count: int
) -> None:
    """In bounded memory. How much longer it takes than the server alone, ``make bench`` tells."""
    with FakeAnvilOps(real_speed=True) as fake:
        wrapped = wrap(fake, tmp_path, "seq", str(count))
        peak_bytes = 0
        while wrapped.is_running:
            peak_bytes = max(peak_bytes, resident_bytes(wrapped.process.pid))
            time.sleep(0.05)  # a peak can only be looked for while it runs
        check_ended(wrapped, 0)
        assert wrapped.out == b"".join(b"%d\n" % number for number in range(1, count + 1))
        assert fake.shown() == [str(number) for number in range(1, count + 1)]
        fake.check_order()
        assert peak_bytes < 40 * 2**20
        assert fake.most_in_flight == 1


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0  # it has ended


def test_twenty_lines_and_gone(tmp_path: Path) -> None:
    """Two at a time, in one spool, each with its own status."""
    runs = 1_000 if LONG else 50
    with FakeAnvilOps() as fake:
        given = environ(fake.url, tmp_path / "spool")

        def run_once(number: int) -> None:
            done = run(
                [*LOG_SHIPPER, "sh", "-c", f"seq -f 'run {number} line %g' 20; exit 3"], given
            )
            assert (done.returncode, done.stderr) == (3, b"")

        with ThreadPoolExecutor(2) as several:
            list(several.map(run_once, range(runs)))
        stored = Counter(row.content for row in fake.rows)
        expected = [f"run {number} line {line}" for number in range(runs) for line in range(1, 21)]
        assert stored == Counter(expected)
        assert list((tmp_path / "spool").iterdir()) == []


def test_an_isolated_line_waits_for_no_other(tmp_path: Path) -> None:
    """The next is not written before it was posted. How fast that is, ``make bench`` tells."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with FakeAnvilOps() as fake:
        wrapped = Running(
            [
                *LOG_SHIPPER,
                "sh",
                "-c",
                'while read -r line; do echo "$line"; done < "$0"',
                str(fifo),
            ],
            environ(fake.url, tmp_path / "spool"),
        )
        with fifo.open("wb", buffering=0) as writing:
            for number in range(10):
                writing.write(b"%d\n" % number)
                until(lambda number=number: len(fake.posts) > number, "it is posted")
        check_ended(wrapped, 0)
        assert fake.shown() == [str(number) for number in range(10)]


def test_500_lines_of_1000_characters(tmp_path: Path) -> None:
    with FakeAnvilOps() as fake:
        wrapped = Running(
            python("for n in range(500): print(f'{n:03}' + 'é' * 997)"),
            environ(fake.url, tmp_path / "spool"),
        )
        check_ended(wrapped, 0)
        assert fake.shown() == [f"{number:03}" + "é" * 997 for number in range(500)]
        assert max(len(request.body) for request in fake.requests) <= MAX_BODY_BYTES
        fake.check_order()


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_000])
def test_a_long_line_comes_in_pieces_and_the_program_goes_on(tmp_path: Path, size: int) -> None:
    with FakeAnvilOps() as fake:
        wrapped = Running(
            python(f"print('\"' * {size}); print('next'); raise SystemExit({STATUS})"),
            environ(fake.url, tmp_path / "spool"),
        )
        check_ended(wrapped, STATUS)
        shown = fake.shown()
        assert shown[-1] == "next"
        assert "".join(shown[:-1]) == '"' * size
        assert len(fake.posts) <= 1 + size // 30_000 + 1


def test_a_nul_a_surrogate_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    program = (
        "import os; os.write(1, b'before\\na\\0b\\n\\xed\\xa0\\x80\\n\\xff\\n"
        "\\x1b[31mas it is\\x1b[0m\\nafter\\r\\n')"
    )
    with FakeAnvilOps() as fake:
        wrapped = Running(python(program), environ(fake.url, tmp_path / "spool"))
        check_ended(wrapped, 0)
        assert fake.shown() == [
            "before", "a\ufffdb", "\ufffd\ufffd\ufffd", "\ufffd", "\x1b[31mas it is\x1b[0m", "after",
        ]  # fmt: skip
        assert {request.status for request in fake.requests if request.body} == {204}


@pytest.mark.parametrize("kind", ["refused", "answers 503", "accepts and hangs"])
def test_an_outage_at_the_start(tmp_path: Path, kind: str) -> None:
    with FakeAnvilOps() as fake:
        port = fake.port
        if kind == "answers 503":
            fake.broken = Answer(503)
        elif kind == "accepts and hangs":
            fake.broken = Fault.HANG
        else:
            fake.stop()
        wrapped = Running(python(PRINT, "2000", "1"), environ(fake.url, tmp_path / "spool"))
        until(lambda: len(wrapped.out.splitlines()) > 1000, "half is written")
        if kind == "refused":
            time.sleep(OUTAGE_S)
            with FakeAnvilOps(port=port) as fake:
                check_outage(wrapped, fake)
            return
        until(lambda: fake.requests, "it was asked")
        time.sleep(OUTAGE_S)
        if kind == "accepts and hangs":
            fake.stop()
            with FakeAnvilOps(port=port) as fake:
                check_outage(wrapped, fake)
            return
        fake.broken = None
        check_outage(wrapped, fake)


def check_warned_of_causes(wrapped: Running) -> None:
    """An outage may have several in turn: no answer, then nobody who listens."""
    assert wrapped.wait(400) == STATUS
    assert all("can't ship to" in warning for warning in wrapped.warnings), wrapped.warnings
    assert 1 <= len(set(wrapped.warnings)) == len(wrapped.warnings) <= 3, wrapped.warnings


def check_outage(wrapped: Running, fake: FakeAnvilOps) -> None:
    check_warned_of_causes(wrapped)
    assert fake.shown() == lines(2000)
    fake.check_order()


@pytest.mark.parametrize("kind", ["refused", "answers 500", "answers 503"])
def test_an_outage_in_the_middle(tmp_path: Path, kind: str) -> None:
    with FakeAnvilOps() as first:
        wrapped = Running(python(PRINT, "3000", "1"), environ(first.url, tmp_path / "spool"))
        until(lambda: len(first.rows) > 500, "some is stored")
        if kind == "refused":
            first.stop()
            time.sleep(OUTAGE_S)
            with FakeAnvilOps(port=first.port) as second:
                check_warned_of_causes(wrapped)
                assert first.shown() + second.shown() == lines(3000)
            return
        first.broken = Answer(int(kind.rpartition(" ")[2]))
        time.sleep(OUTAGE_S)
        first.broken = None
        check_warned_of_causes(wrapped)
        assert first.shown() == lines(3000)
        first.check_order()


def test_429_is_obeyed_to_the_second(tmp_path: Path) -> None:
    with FakeAnvilOps() as fake:
        wrapped = Running(python(PRINT, "1000", "2"), environ(fake.url, tmp_path / "spool"))
        until(lambda: len(fake.rows) > 100, "some is stored")
        with fake.lock:
            fake.faults.append(Answer(429, (("Retry-After", "2"),)))
        check_ended(wrapped, STATUS)
        posts = [request for request in fake.requests if request.body]
        (refused,) = [at for at, request in enumerate(posts) if request.status == 429]
        assert posts[refused + 1].arrived_s - posts[refused].arrived_s >= 2
        assert fake.shown() == lines(1000)
        fake.check_order()


def test_a_backend_that_hangs_is_waited_for_no_longer_than_agreed(tmp_path: Path) -> None:
    """And what it did not take is with the next."""
    with FakeAnvilOps() as fake:
        wrapped = Running(
            python(PRINT, "1000", "1"),
            environ(fake.url, tmp_path / "spool", flush_timeout_s="1"),
        )
        until(lambda: len(fake.rows) > 100, "some is stored")
        fake.broken = Fault.HANG
        until(lambda: len(wrapped.out.splitlines()) == 1000, "the program goes on")
        ended_s = time.monotonic()
        check_ended(wrapped, STATUS, 1)
        assert time.monotonic() - ended_s < 1 + 3 * PATIENCE_S / 20
        assert "did not acknowledge" in wrapped.warnings[0]
        fake.broken = None
        after = wrap(fake, tmp_path, "sh", "-c", "sleep 1")
        check_ended(after, 0)
        assert fake.shown() == lines(1000)


@pytest.mark.parametrize("fault", [Fault.CUT, Answer(500), Answer(403), Answer(400)], ids=str)
def test_the_last_upload_fails_and_the_status_is_the_program_s(
    tmp_path: Path, fault: Fault | Answer
) -> None:
    """What is left waits for the next run in the same spool."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with FakeAnvilOps() as fake:
        wrapped = wrap(
            fake, tmp_path, "sh", "-c", f'echo first; read -r line < "$0"; echo last; exit {STATUS}',
            str(fifo), flush_timeout_s="1",
        )  # fmt: skip
        until(lambda: fake.rows, "the first is stored")
        fake.broken = fault
        fifo.write_text("go on\n")
        assert wrapped.wait() == STATUS
        assert len(wrapped.warnings) == 1
        assert TOKEN not in wrapped.warnings[0]
        fake.broken = None
        check_ended(wrap(fake, tmp_path, "sh", "-c", "sleep 1"), 0)
        assert fake.shown() == ["first", "last"]
        assert list((tmp_path / "spool").iterdir()) == []


def test_stored_but_500_doubles_its_batch_and_nothing_else(tmp_path: Path) -> None:
    with FakeAnvilOps() as fake:
        wrapped = Running(python(PRINT, "2000", "1"), environ(fake.url, tmp_path / "spool"))
        for at in (200, 700, 1200):
            until(lambda at=at: len(fake.rows) > at, "some is stored")
            with fake.lock:
                fake.faults.append(Fault.STORED_BUT_500)
        check_ended(wrapped, STATUS)
        doubled = {post for post in {row.post for row in fake.rows}
                   if [r for r in fake.requests if r.line_count][post].status == 500}  # fmt: skip
        assert len(doubled) == 3
        stored = Counter(row.content for row in fake.rows)
        twice = {row.content for row in fake.rows if row.post in doubled}
        assert stored == {line: 1 + (line in twice) for line in lines(2000)}
        assert list(dict.fromkeys(fake.shown())) == lines(2000)


def test_poison_is_left_out_alone(tmp_path: Path) -> None:
    with FakeAnvilOps() as fake:
        fake.poison = lambda content: content.endswith("33")
        wrapped = Running(python(PRINT, "2000", "0"), environ(fake.url, tmp_path / "spool"))
        assert wrapped.wait() == STATUS
        *_, left_out, in_all = wrapped.warnings
        assert "refused a line (HTTP 500), which is left out" in left_out
        assert "refused 20 lines in all" in in_all
        assert len(wrapped.warnings) <= 3, "the first 500 may be told of as well"
        notice = "ptyshipper: a line was refused (HTTP 500) and is left out"
        assert fake.shown() == [notice if line.endswith("33") else line for line in lines(2000)]


def test_a_terminal_shows_a_person_s_lines(tmp_path: Path) -> None:
    """A progress bar is one line, colours and titles are gone; on the terminal all is as it was."""
    program = (
        "import time\n"
        "print('\\x1b]0;title\\x07\\x1b[1;34mbegin\\x1b[0m')\n"
        "for percent in range(101):\n"
        "    print(f'\\r\\x1b[K{percent:3}% ' + '█' * (percent // 10), end='', flush=True)\n"
        "    time.sleep(0.01)\n"  # as a progress bar is drawn
        "print('\\nend')\n"
    )
    with FakeAnvilOps() as fake:
        wrapped = Running(python(program), environ(fake.url, tmp_path / "spool"), terminal=True)
        check_ended(wrapped, 0)
        assert fake.shown() == ["begin", "100% " + "█" * 10, "end"]
        assert wrapped.out.count(b"\r\x1b[K") == 101


def test_kills_at_any_moment_repeat_a_post_at_most(tmp_path: Path) -> None:
    """Of a post in flight nobody knows whether it was taken; of all others it is noted. Lost is nothing
    that was shown."""
    chance = random.Random(SEED)
    print(f"replay with PTYSHIPPER_SEED={SEED}")
    kills = 20 if LONG else 6
    with FakeAnvilOps(real_speed=True) as fake:
        shown: list[bytes] = []
        for number in range(kills):
            wrapped = Running(
                python(PRINT.replace("line ", f"run {number} line "), "1000000", "0.2"),
                environ(fake.url, tmp_path / "spool"),
            )
            until(lambda n=number: any(f"run {n} " in r.content for r in fake.rows), "it is posted")
            time.sleep(chance.uniform(0, 0.5))  # the moment is what is tested
            wrapped.kill()
            shown.append(bytes(wrapped.out))
        check_ended(wrap(fake, tmp_path, "sh", "-c", "sleep 2"), 0)
        until(lambda: list((tmp_path / "spool").iterdir()) == [], "all of it is delivered")
        stored = Counter(row.content for row in fake.rows)
        for out in shown:
            for line in out.decode().splitlines(keepends=True):
                assert not line.endswith("\n") or stored[line.rstrip("\n")], line
        for number in range(kills):
            # Its own wrapper's, then those of the wrappers that were to deliver what it left.
            suffered = kills - number
            rows = [row for row in fake.rows if row.content.startswith(f"run {number} ")]
            times = Counter(row.content for row in rows)
            repeated = {row.content: row.post for row in reversed(rows) if times[row.content] > 1}
            assert len(set(repeated.values())) <= suffered, "at most the post in flight, each time"
            assert max(times.values()) <= 1 + suffered


def test_the_token_goes_nowhere_but_to_the_endpoint(tmp_path: Path) -> None:
    """Not to a proxy of the user's, not after a redirect, not to the program."""
    with FakeAnvilOps() as fake, FakeAnvilOps() as elsewhere:
        fake.broken = Answer(307, (("Location", elsewhere.url),))
        given = environ(fake.url, tmp_path / "spool", flush_timeout_s="1")
        given |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), elsewhere.url)
        program = (
            "import os; parent = os.getppid()\n"
            "print(sorted(k for k in os.environ if 'ANVILOPS' in k))\n"
            "print(open(f'/proc/{parent}/environ').read().count('an-app'))\n"
        )
        wrapped = Running(python(program), given)
        check_ended(wrapped, 0, 1)
        assert "redirects elsewhere" in wrapped.warnings[0]
        assert bytes(wrapped.out) == b"[]\n0\n"
        assert elsewhere.requests == []


def test_a_signal_ends_the_wait_and_the_rest_is_with_the_next(tmp_path: Path) -> None:
    with FakeAnvilOps() as fake:
        fake.broken = Answer(503)
        wrapped = wrap(fake, tmp_path, "sh", "-c", "echo kept; exit 4")
        children = Path(f"/proc/{wrapped.process.pid}/task/{wrapped.process.pid}/children")
        until(lambda: b"kept" in wrapped.out and fake.requests, "it tries")
        until(lambda: not children.read_text(), "only the wrapper is left to be signalled")
        wrapped.process.send_signal(signal.SIGTERM)
        assert wrapped.wait() in (4, 128 + signal.SIGTERM)
        fake.broken = None
        check_ended(wrap(fake, tmp_path, "sh", "-c", "sleep 1"), 0)
        assert fake.shown() == ["kept"]


def test_the_bundle_posts_too(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """It leaves out much of Python: what is left must do, for a terminal's wide characters as well."""
    if not BUNDLE.exists():
        lacking(pytestconfig, "dist/log-shipper (make bundle)")
    install(tmp_path / "volume")
    program = "printf '10%%\\r日本\\rX\\n\\351\\n'; exit 5"
    with FakeAnvilOps() as fake:
        wrapped = Running(
            [str(tmp_path / "volume/log-shipper"), "sh", "-c", program],
            environ(fake.url, tmp_path / "spool"),
            terminal=True,
        )
        check_ended(wrapped, 5)
        assert fake.shown() == ["X 本", "\ufffd"]


def test_nothing_is_said_of_the_fallback_itself(tmp_path: Path) -> None:
    """It is what an operator of today's AnvilOps has on every start."""
    with FakeAnvilOps() as fake:
        done = run([*LOG_SHIPPER, "echo", "hello"], environ(fake.url, tmp_path / "spool"))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")
        assert [request.method for request in fake.requests].count("GET") == 1
        assert len(fake.posts) == 1
        assert re.fullmatch(r"ptyshipper/[\d.]+\S*", fake.requests[1].headers["user-agent"])
