"""What the wrapper takes where nothing happens: memory, the start, system calls."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from integration.bench.harness import (
    LOG_SHIPPER,
    SETTLE_S,
    Bench,
    descendants,
    plain_environ,
    run_on_pipe,
    run_on_pty,
    running,
)
from integration.bench.table import Figure, skipped

_GO_IDLE_MB = 5.4
_GO_START_MS = 5.4
SLEEP = ("sleep", "600")
_SCRIPT = ("script", "-q", "-c", "sleep 600", "/dev/null")
_ONLY_EXECS = (sys.executable, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])")

_FIRST_INSTRUCTION = """
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    return 0;
}
"""


def memory(bench: Bench) -> list[Figure]:
    """RSS and PSS of a wrapper that is connected and has nothing to do, on pipes and on ptys."""
    figures = []
    script = None
    if shutil.which("script"):
        with running(_SCRIPT, plain_environ(), on_pty=True) as pid:
            time.sleep(0.3)
            script = memory_mb(pid)[0]
    for where, on_pty in (("pipes", False), ("a pty", True)):
        known = bench.count_sessions()
        with running((*LOG_SHIPPER, *SLEEP), bench.environ(shipping=True), on_pty=on_pty) as pid:
            bench.wait_session(known + 1)
            time.sleep(SETTLE_S)
            rss, pss = memory_mb(pid)
            note = f"PSS {pss:.1f} MB, anonymous {_anonymous_mb(pid):.1f} MB"
            if on_pty and script is not None:
                note += f"; util-linux script {script:.1f} MB"
        figures.append(_memory_figure(f"memory idle, {where} (RSS)", rss, note))
    known = bench.count_sessions()
    # As a job of somebody else's session: here a monitor stands between wrapper and program.
    under_shell = ("sh", "-c", '"$@"; exit $?', "sh", *LOG_SHIPPER, *SLEEP)
    with running(under_shell, bench.environ(shipping=True), on_pty=True) as shell:
        bench.wait_session(known + 1)
        time.sleep(SETTLE_S)
        wrapper, monitor = descendants(shell)[:2]
        rss, pss = memory_mb(monitor)
        note = f"PSS {pss:.1f} MB, beside the wrapper's own {memory_mb(wrapper)[0]:.1f} MB RSS"
        figures.append(Figure("memory idle, job monitor (RSS)", rss, "MB", note=note))
        os.kill(wrapper, 15)
        time.sleep(0.3)
    bench.forget_spools()
    return figures


def _memory_figure(name: str, rss: float, note: str) -> Figure:
    return Figure(name, rss, "MB", "Go wrapper (recorded)", _GO_IDLE_MB, note=note)


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS: what it has in memory, and the same with shared pages divided among their users.

    In 1,000,000 bytes, as every MB of the table.
    """
    return _smaps_mb(pid, "Rss"), _smaps_mb(pid, "Pss")


def _anonymous_mb(pid: int) -> float:
    return _smaps_mb(pid, "Anonymous")


def _smaps_mb(pid: int, field: str) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{field}: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def start(bench: Bench) -> list[Figure]:
    """The start of the source install."""
    return start_figures(bench, LOG_SHIPPER, "exec to first instruction", {})


def start_figures(
    bench: Bench, wrapper: tuple[str, ...], name: str, goals_ms: dict[str, float]
) -> list[Figure]:
    """From the exec to the program's first instruction, wrapped and bare."""
    program = _first_instruction(bench)
    if program is None:
        return [skipped(name, "no C compiler (gcc or cc)")]
    figures = []
    for where, run in (("pipes", run_on_pipe), ("a pty", run_on_pty)):
        bare_ms, wrapped_ms, python_ms = [], [], []
        # Without an endpoint: what is shipped, and when, plays no part before the program runs.
        environ = bench.environ(shipping=False)
        for turn in range(1 + bench.rounds(25)):
            bare = _took_ms(run, (str(program),), plain_environ())
            wrapped = _took_ms(run, (*wrapper, str(program)), environ)
            python = _took_ms(run, (*_ONLY_EXECS, str(program)), plain_environ())
            if turn:  # the first one filled caches and wrote .pyc files
                bare_ms.append(bare)
                wrapped_ms.append(wrapped)
                python_ms.append(python)
        mine, theirs = statistics.median(wrapped_ms), statistics.median(bare_ms)
        note = (
            f"{min(wrapped_ms):.1f}..{max(wrapped_ms):.1f} ms; added {mine - theirs:.1f} ms"
            f" (Go wrapper, recorded: {_GO_START_MS} ms); a Python that does nothing but exec"
            f" adds {statistics.median(python_ms) - theirs:.1f} ms"
        )
        goal_ms = goals_ms.get(where)
        wanted, met = ("", None) if goal_ms is None else (f"≤ {goal_ms:g}", mine <= goal_ms)
        figures.append(Figure(f"{name}, {where}", mine, "ms", "bare", theirs, wanted, met, note))
    return figures


def _first_instruction(bench: Bench) -> Path | None:
    """A static program that says what time it is, first of all."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    source, program = bench.directory / "now.c", bench.directory / "now"
    source.write_text(_FIRST_INSTRUCTION)
    for flags in (["-static"], []):
        built = subprocess.run(
            [compiler, "-O1", *flags, "-o", program, source], capture_output=True, check=False
        )
        if built.returncode == 0:
            return program
    return None


def _took_ms(run: object, argv: tuple[str, ...], environ: dict[str, str]) -> float:
    assert callable(run)
    done = run(argv, environ)
    said = [line for line in done.output.split(b"\n") if line.strip().isdigit()]
    if not said:
        raise SystemExit(f"{argv[-1]} said {done.output!r}")
    return (int(said[0]) - done.exec_ns) / 1e6


def idle(bench: Bench) -> list[Figure]:
    """System calls of all threads of a connected wrapper, between two heartbeats."""
    name = "system calls while idle"
    if shutil.which("strace") is None:
        return [skipped(name, "strace is missing")]
    seconds = 5.0 if bench.quick else 10.0
    known = bench.count_sessions()
    with running((*LOG_SHIPPER, *SLEEP), bench.environ(shipping=True), on_pty=True) as pid:
        bench.wait_session(known + 1)
        time.sleep(SETTLE_S)
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        calls = _trace(bench, pid, seconds)
    bench.forget_spools()
    if isinstance(calls, str):
        return [skipped(name, calls)]
    with running(_SCRIPT, plain_environ(), on_pty=True) as pid:
        time.sleep(0.5)
        of_script = _trace(bench, pid, 2.0)
    peer = None if isinstance(of_script, str) else len(of_script) * seconds / 2
    note = f"in {seconds:.0f} s, {threads} threads"
    if calls:
        note += "; " + "; ".join(calls[:5])
    return [Figure(name, len(calls), "", "script", peer, "0", not calls, note)]


def _trace(bench: Bench, pid: int, seconds: float) -> list[str] | str:
    """The calls that began within ``seconds``, or why that can't be told."""
    trace = bench.directory / f"trace-{pid}"
    tracing = subprocess.Popen(
        ["strace", "-f", "-qq", "-p", str(pid), "-o", trace], stderr=subprocess.PIPE
    )
    time.sleep(seconds)
    failed = tracing.poll() is not None
    tracing.terminate()
    complaint = tracing.communicate()[1].decode(errors="replace").strip()
    if failed:
        return complaint or "strace can't attach"
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    seen, calls = _calls(trace.read_text(errors="replace"))
    return calls if seen == threads else f"strace saw {seen} of {threads} threads"


def _calls(trace: str) -> tuple[int, list[str]]:
    """How many threads there were, and the calls that began while strace looked.

    Each thread's first line is the call that it already slept in.
    """
    slept: set[str] = set()
    calls = []
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith(("---", "+++", "<...")):
            continue
        if thread not in slept:
            slept.add(thread)
            continue
        calls.append(call)
    return len(slept), calls
