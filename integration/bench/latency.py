"""From the program's write() to a viewer's hands."""

from __future__ import annotations

import os
import statistics
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from integration.bench.harness import LOG_SHIPPER, Bench, running
from integration.bench.table import Figure
from ptyshipper.records import OUTPUT_KINDS, decode
from ptyshipper.wire import messages

_MEDIAN_GOAL_MS, _P99_GOAL_MS = 3.0, 15.0
_GO_MS = 512.0
_EVERY_S = 0.05
_WARM_UP_LINES = 20

CLOCK = f"""
import os, time
while True:
    os.write(1, b"%d\\n" % time.monotonic_ns())
    time.sleep({_EVERY_S})
"""
"""A line now and then that holds the time of its own write()."""


def latency_on_pipe(bench: Bench) -> list[Figure]:
    return _latency(bench, "pipe", on_pty=False)


def latency_on_pty(bench: Bench) -> list[Figure]:
    return _latency(bench, "pty", on_pty=True)


def _latency(bench: Bench, where: str, *, on_pty: bool) -> list[Figure]:
    """Isolated lines through wrapper and backend to a WebSocket, all on this machine."""
    count = 60 if bench.quick else 200
    known = bench.count_sessions()
    argv = (*LOG_SHIPPER, sys.executable, "-c", CLOCK)
    with running(argv, bench.environ(shipping=True), on_pty=on_pty):
        session = bench.wait_session(known + 1)
        delays_ms = sorted(_delays_ms(bench, session["id"], _WARM_UP_LINES + count))
    bench.forget_spools()
    disk_ms = _disk_ms(bench)
    median = statistics.median(delays_ms)
    p99 = _p99(delays_ms)
    go = "Go wrapper (recorded)"
    return [
        Figure(
            f"write() to viewer, {where}, median",
            median,
            "ms",
            go,
            _GO_MS,
            f"≤ {_MEDIAN_GOAL_MS:.0f}",
            median <= _MEDIAN_GOAL_MS,
        ),
        Figure(
            f"write() to viewer, {where}, p99",
            p99,
            "ms",
            go,
            _GO_MS,
            f"≤ {_P99_GOAL_MS:.0f}",
            p99 <= _P99_GOAL_MS,
            f"{len(delays_ms)} lines, one every {_EVERY_S * 1000:.0f} ms, worst {delays_ms[-1]:.1f} ms;"
            f" a write and fdatasync on the backend's disk alone: median"
            f" {statistics.median(disk_ms):.1f} ms, p99 {_p99(disk_ms):.1f} ms",
        ),
    ]


def _delays_ms(bench: Bench, session_id: str, count: int) -> list[float]:
    """How old each line is when it comes; the first ones, which were stored before, are left out."""
    url = bench.state.url.replace("http", "ws", 1)
    delays: list[float] = []
    try:
        with connect(
            f"{url}/api/sessions/{session_id}/records?from=0&follow=1",
            additional_headers={"Authorization": f"Bearer {bench.state.view_token}"},
            subprotocols=[Subprotocol(messages.VIEWER_SUBPROTOCOL)],
            compression=None,
            proxy=None,
        ) as viewer:
            while len(delays) < count:
                raw = viewer.recv(10)
                now_ns = time.monotonic_ns()
                assert isinstance(raw, bytes)
                message = messages.read_viewer_message(raw)
                assert isinstance(message, messages.Batch), "the session ended early"
                for record in decode(message.records):
                    if record.kind in OUTPUT_KINDS:
                        delays += [(now_ns - int(line)) / 1e6 for line in record.payload.split()]
    except ConnectionClosed as error:
        raise SystemExit(f"the backend closed the viewer's connection: {error}") from None
    return delays[_WARM_UP_LINES:]


def _p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _disk_ms(bench: Bench) -> list[float]:
    """How long the disk takes to promise a page: what a backend that acknowledges can't undercut."""
    took_ms = []
    with open(bench.directory / "page", "wb", buffering=0) as file:
        for _ in range(50 if bench.quick else 200):
            began_ns = time.monotonic_ns()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
            time.sleep(0.01)
    return sorted(took_ms)
