"""CPU time of the wrapper's own process for each MB that it ships."""

from __future__ import annotations

import statistics
import sys
import time

from integration.bench.harness import (
    LOG_SHIPPER,
    SETTLE_S,
    Bench,
    plain_environ,
    precise_cpu_seconds,
    run_on_pipe,
    running,
)
from integration.bench.table import Figure

_MB = 1_000_000
_BULK_GOAL, _LINES_GOAL = 0.02, 0.10
_GO_LINES = 0.10
_LINES_A_SECOND = 2_000
_LINE_BYTES = 100

LINES = f"""
import os, time
line = b"x" * {_LINE_BYTES - 1} + b"\\n"
begun = time.monotonic()
count = 0
while True:
    os.write(1, line)
    count += 1
    ahead = begun + count / {_LINES_A_SECOND} - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
"""
"""Lines at a steady rate, one write each, until somebody ends it."""


def bulk_cpu(bench: Bench) -> list[Figure]:
    """A large file through a pipe, start and end included, beside a ``cat`` that only copies."""
    size = (64 if bench.quick else 128) * _MB
    text = str(bench.text_file(size))
    ours, peer = [], []
    for _ in range(bench.rounds(3)):
        run = run_on_pipe((*LOG_SHIPPER, "cat", text), bench.environ(shipping=True))
        bench.forget_spools()
        session = bench.newest_session()
        if run.status != 0 or session["bytes"] != size or session["gaps"]:
            raise SystemExit(f"status {run.status}, {session['bytes']} of {size} bytes arrived")
        ours.append(run.cpu_s / (size / _MB))
        copied = run_on_pipe(("cat", text), plain_environ())
        peer.append(copied.cpu_s / (size / _MB))
    mine = statistics.median(ours)
    return [
        Figure(
            "CPU in bulk through pipes",
            mine,
            "s/MB",
            "pipe to cat",
            statistics.median(peer),
            f"≤ {_BULK_GOAL}",
            mine <= _BULK_GOAL,
        )
    ]


def lines_cpu(bench: Bench) -> list[Figure]:
    """Small writes at a steady rate, between the start and the end."""
    seconds = 5.0 if bench.quick else 10.0
    known = bench.count_sessions()
    program = (sys.executable, "-c", LINES)
    with running((*LOG_SHIPPER, *program), bench.environ(shipping=True)) as pid:
        bench.wait_session(known + 1)
        time.sleep(SETTLE_S)
        before_bytes = bench.newest_session()["bytes"]
        before_s, began_s = precise_cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        spent_s, took_s = precise_cpu_seconds(pid) - before_s, time.monotonic() - began_s
        shipped = bench.newest_session()["bytes"] - before_bytes
    bench.forget_spools()
    mine = spent_s / (shipped / _MB)
    return [
        Figure(
            "CPU, lines of 100 bytes",
            mine,
            "s/MB",
            "Go wrapper (recorded)",
            _GO_LINES,
            f"≤ {_LINES_GOAL:.2f}",
            mine <= _LINES_GOAL,
            f"{shipped / _LINE_BYTES / took_s:.0f} lines a second for {took_s:.0f} s,"
            f" {spent_s / took_s:.1%} of a CPU; start and end not counted",
        )
    ]
