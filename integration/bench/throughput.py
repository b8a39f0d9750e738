"""Bytes a second through the wrapper, from start to the last byte outside."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable

from integration.bench.harness import (
    LOG_SHIPPER,
    Bench,
    Run,
    plain_environ,
    run_on_pipe,
    run_on_pty,
)
from integration.bench.table import Figure, skipped

_MB = 1_000_000
_ALONE_GOAL, _SHIPPING_GOAL = 1.0, 0.8


def pty_throughput(bench: Bench) -> list[Figure]:
    """A program's text through a pty, beside util-linux ``script`` that keeps nothing."""
    name = "pty throughput"
    if shutil.which("script") is None:
        return [skipped(name, "util-linux script is missing")]
    size = (32 if bench.quick else 96) * _MB
    text = str(bench.text_file(size))
    script = ("script", "-q", "-e", "-c", f"cat {text}", "/dev/null")
    wrapped = (*LOG_SHIPPER, "cat", text)
    rates = _alternate(
        bench.rounds(5),
        {
            "script": lambda: run_on_pty(script, plain_environ()),
            "alone": lambda: run_on_pty(wrapped, bench.environ(shipping=False)),
            "shipping": lambda: _shipped(bench, run_on_pty, wrapped, size),
        },
        size,
    )
    return [
        _figure(f"{name}, no endpoint", rates["alone"], "script", rates["script"], _ALONE_GOAL),
        _figure(f"{name}, shipping", rates["shipping"], "script", rates["script"], _SHIPPING_GOAL),
    ]


def pipe_throughput(bench: Bench) -> list[Figure]:
    """The same through a pipe, beside ``| cat``."""
    size = (128 if bench.quick else 512) * _MB
    text = str(bench.text_file(size))
    wrapped = (*LOG_SHIPPER, "cat", text)
    rates = _alternate(
        bench.rounds(5),
        {
            "cat": lambda: run_on_pipe(("sh", "-c", f"cat {text} | cat"), plain_environ()),
            "alone": lambda: run_on_pipe(wrapped, bench.environ(shipping=False)),
            "shipping": lambda: _shipped(bench, run_on_pipe, wrapped, size),
        },
        size,
    )
    return [
        _figure("pipe throughput, no endpoint", rates["alone"], "pipe to cat", rates["cat"], None),
        _figure("pipe throughput, shipping", rates["shipping"], "pipe to cat", rates["cat"], None),
    ]


def _alternate(
    rounds: int, contenders: dict[str, Callable[[], Run]], size: int
) -> dict[str, list[float]]:
    """MB/s of each contender in each round; they take turns, so that all meet the same weather."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contend in contenders.items():
            run = contend()
            if run.status != 0 or run.output_bytes < size:
                raise SystemExit(
                    f"{name}: status {run.status}, {run.output_bytes} of {size} bytes; {run.output!r}"
                )
            rates[name].append(size / _MB / run.seconds)
    return rates


def _shipped(
    bench: Bench,
    run: Callable[[tuple[str, ...], dict[str, str]], Run],
    argv: tuple[str, ...],
    size: int,
) -> Run:
    """One run that must reach the backend whole: a throughput with losses would be none."""
    environ = bench.environ(shipping=True)
    done = run(argv, environ)
    bench.forget_spools()
    session = bench.newest_session()
    if session["bytes"] != done.output_bytes or session["gaps"]:
        raise SystemExit(
            f"{session['bytes']} of {done.output_bytes} bytes arrived, {session['gaps']} gaps"
        )
    return done


def _figure(
    name: str, ours: list[float], peer_name: str, peer: list[float], goal: float | None
) -> Figure:
    mine, theirs = statistics.median(ours), statistics.median(peer)
    note = f"ours {_spread(ours)}, {peer_name} {_spread(peer)}"
    if goal is None:
        return Figure(name, mine, "MB/s", peer_name, theirs, note=note)
    wanted = f"ratio ≥ {goal}"
    return Figure(name, mine, "MB/s", peer_name, theirs, wanted, mine / theirs >= goal, note)


def _spread(rates: list[float]) -> str:
    return f"{min(rates):.0f}..{max(rates):.0f}"
