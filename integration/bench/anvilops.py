"""Posts to AnvilOps as it stands, answered by a fake at the speed of the real one."""

from __future__ import annotations

import statistics
import sys
import time

from integration.bench.cpu import LINES
from integration.bench.footprint import SLEEP, memory_mb
from integration.bench.harness import (
    LOG_SHIPPER,
    SETTLE_S,
    Bench,
    precise_cpu_seconds,
    run_on_pipe,
    running,
    wait_for,
)
from integration.bench.table import Figure
from tests.support.fake_anvilops import DEPLOYMENT_ID, LINE_MS, POST_MS, TOKEN, FakeAnvilOps

_P = "_PRIVATE_ANVILOPS_LOG_"
_GO = "Go wrapper (recorded)"
_GO_LATENCY_MS = 504.0
_GO_IDLE_MB, _GO_CPU_S_PER_MB = 5.4, 0.10
_LATENCY_GOAL_MS, _CPU_GOAL, _FLOOD_GOAL = 20.0, 0.10, 1.25

_START_S = 0.5
"""What is no matter of the rate: a start, the question for a WebSocket, the end."""

_GO_FLOODS: dict[int, tuple[int, float | None]] = {
    10_000: (0, None),
    100_000: (88_750, 12.3),
    1_000_000: (989_750, 169.0),
}
"""Of so many lines it stored so many, in so many seconds. Of the least it took four times as long as the
bare program, which was not written down."""

_SAYS_WHEN = """
import os, time
for _ in range({count}):
    time.sleep(0.2)  # so that each line finds an idle stream
    os.write(1, b"%d\\n" % time.monotonic_ns())
"""


def anvilops(bench: Bench) -> list[Figure]:
    """Latency, throughput, memory and CPU where the backend takes only posts."""
    counts = [count for count in _GO_FLOODS if count <= 100_000 or not bench.quick]
    floods = [figure for count in counts for figure in _flood(bench, count)]
    return [*_latency(bench), *floods, *_memory(bench), *_cpu(bench)]


def _environ(bench: Bench, fake: FakeAnvilOps) -> dict[str, str]:
    return bench.environ(shipping=False) | {
        _P + "ENDPOINT": fake.url,
        _P + "TOKEN": TOKEN,
        _P + "DEPLOYMENT_ID": str(DEPLOYMENT_ID),
        _P + "FLUSH_TIMEOUT_S": "300",  # a million lines take the server a minute and a half
    }


def _latency(bench: Bench) -> list[Figure]:
    """From before a line's write(2) until its post has been read whole."""
    count = 20 if bench.quick else 100
    program = (sys.executable, "-c", _SAYS_WHEN.format(count=count))
    with FakeAnvilOps(real_speed=True) as fake:
        run_on_pipe((*LOG_SHIPPER, *program), _environ(bench, fake))
        took_ms = sorted(row.arrived_s * 1e3 - int(row.content) / 1e6 for row in fake.rows)
    bench.forget_spools()
    if len(took_ms) != count:
        raise SystemExit(f"{len(took_ms)} of {count} lines were posted")
    median = statistics.median(took_ms)
    note = f"{took_ms[0]:.1f}..{took_ms[-1]:.1f} ms, p95 {took_ms[int(count * 0.95)]:.1f} ms"
    wanted = f"≤ {_LATENCY_GOAL_MS:g}"
    met = median <= _LATENCY_GOAL_MS
    return [
        Figure("AnvilOps: write() to post", median, "ms", _GO, _GO_LATENCY_MS, wanted, met, note)
    ]


def _flood(bench: Bench, count: int) -> list[Figure]:
    """``seq``, start and end included."""
    server_s = count / 500 * (POST_MS + 500 * LINE_MS) / 1000
    with FakeAnvilOps(real_speed=True) as fake:
        began_s = time.monotonic()
        run = run_on_pipe((*LOG_SHIPPER, "seq", str(count)), _environ(bench, fake))
        took_s = time.monotonic() - began_s
        stored = len(set(fake.shown()))
        is_whole = fake.shown() == [str(number) for number in range(1, count + 1)]
    bench.forget_spools()
    note = f"status {run.status}; the server alone takes {server_s:.1f} s; {run.cpu_s:.1f} s of CPU"
    go_stored, go_s = _GO_FLOODS[count]
    name, most_s = f"AnvilOps: seq {count}", _FLOOD_GOAL * server_s + _START_S
    return [
        Figure(f"{name}, lines stored", stored, "", _GO, go_stored, "all", is_whole, note),
        Figure(
            f"{name}, wall time", took_s, "s", _GO if go_s else "", go_s,
            f"≤ {most_s:.1f}", took_s <= most_s,
        ),
    ]  # fmt: skip


def _memory(bench: Bench) -> list[Figure]:
    """RSS of a wrapper that has posted a line and has nothing to do."""
    program = ("sh", "-c", f"echo posted; exec {' '.join(SLEEP)}")
    with (
        FakeAnvilOps() as fake,
        running((*LOG_SHIPPER, *program), _environ(bench, fake)) as pid,
    ):
        wait_for(lambda: fake.rows or None)
        time.sleep(SETTLE_S)
        rss, pss = memory_mb(pid)
    bench.forget_spools()
    note = f"PSS {pss:.1f} MB"
    return [Figure("AnvilOps: memory idle (RSS)", rss, "MB", _GO, _GO_IDLE_MB, note=note)]


def _cpu(bench: Bench) -> list[Figure]:
    """Lines of 100 bytes at a steady rate, between the start and the end."""
    seconds = 5.0 if bench.quick else 10.0
    program = (sys.executable, "-c", LINES)
    with (
        FakeAnvilOps(real_speed=True) as fake,
        running((*LOG_SHIPPER, *program), _environ(bench, fake)) as pid,
    ):
        wait_for(lambda: fake.rows or None)
        time.sleep(SETTLE_S)
        before, before_s = len(fake.rows), precise_cpu_seconds(pid)
        time.sleep(seconds)
        count, spent_s = len(fake.rows) - before, precise_cpu_seconds(pid) - before_s
    bench.forget_spools()
    mine = spent_s / (count * 100 / 1e6)
    note = f"{count / seconds:.0f} lines a second"
    wanted, met = f"≤ {_CPU_GOAL:.2f}", mine <= _CPU_GOAL
    name = "AnvilOps: CPU, lines of 100 bytes"
    return [Figure(name, mine, "s/MB", _GO, _GO_CPU_S_PER_MB, wanted, met, note)]
