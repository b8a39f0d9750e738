"""The backend under many shippers: latency, throughput, memory; on SQLite and on Postgres.

The shippers are a process of their own (``swarm``) on the other core. What was stored is counted
afterwards: a figure with losses would be none.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from integration.bench.harness import (
    REPOSITORY,
    Bench,
    Serving,
    cpu_seconds,
    plain_environ,
)
from integration.bench.swarm import LINE_BYTES, Outcome, Task
from integration.bench.table import Figure
from ptyshipper.view.client import Backend

RATE_CONNECTIONS, RATE_LINES_A_SECOND = 1_000, 10
BURST_CONNECTIONS, BURST_LINES = 10, 1_000_000
IDLE_CONNECTIONS = 5_000
_CHUNK_GROUP_BYTES = 8 << 20
_KIB = 1024


class Load(NamedTuple):
    """What a swarm did to a backend: CPU seconds a second of the backend and of its database, and how
    much the backend grew, in bytes."""

    outcome: Outcome
    serve_cpu: float
    database_cpu: float
    grown_bytes: int


def sqlite_rate(bench: Bench) -> list[Figure]:
    return _rate(bench, "SQLite", bench.serving())


def sqlite_burst(bench: Bench) -> list[Figure]:
    """Beside plain inserts of the same chunks by the same driver, in transactions as large."""
    with bench.serving() as serving:
        load = _burst(bench, serving)
    chunks = sqlite3.connect(serving.data_dir / "ptyshipper.db")
    rows = chunks.execute("SELECT * FROM chunks").fetchall()
    schema = chunks.execute(
        "SELECT sql FROM sqlite_schema WHERE name IN ('chunks', 'chunks_by_offset')"
    )
    tables = ";".join(sql for (sql,) in schema)
    chunks.close()
    plain_s = _plain_inserts(bench.directory / "plain.db", tables, rows)
    return [_burst_figure("SQLite", load, len(rows), plain_s)]


def backend_memory(bench: Bench) -> list[Figure]:
    """What a connection takes that says nothing."""
    _need_descriptors(2 * IDLE_CONNECTIONS)
    connections = 500 if bench.quick else IDLE_CONNECTIONS
    with bench.serving() as serving:
        before = _rss(serving.pid)
        task = _task(serving, connections, seconds=8.0)
        with subprocess.Popen(
            _swarm_argv(task), stdout=subprocess.PIPE, cwd=REPOSITORY, env=plain_environ()
        ) as swarm:
            assert swarm.stdout is not None
            if swarm.stdout.readline() != b"holding\n":
                raise SystemExit("the swarm could not connect")
            time.sleep(2)  # what the upgrade took is freed meanwhile
            grown = _rss(serving.pid) - before
    kib = grown / connections / _KIB
    name = f"backend, {connections} idle connections"
    return [Figure(name, kib, "KiB each", goal="≤ 25", met=kib <= 25)]


def _rate(bench: Bench, store: str, serving: Serving) -> list[Figure]:
    connections = 200 if bench.quick else RATE_CONNECTIONS
    _need_descriptors(2 * connections)
    seconds = 5.0 if bench.quick else 20.0
    with serving:
        task = _task(serving, connections, line_rate=RATE_LINES_A_SECOND, seconds=seconds)
        load = _swarm(serving, task)
        _check_all_stored(serving, load.outcome)
    done = load.outcome
    cpu = f"backend {load.serve_cpu:.2f} of a core, {load.grown_bytes / connections / _KIB:.0f} KiB each"
    if load.database_cpu:
        cpu += f", database {load.database_cpu:.2f}"
    name = f"{store}, {connections} x {RATE_LINES_A_SECOND} lines/s, to the ACK"
    return [
        Figure(f"{name}, p50", done.p50_ms, "ms", goal="≤ 10", met=done.p50_ms <= 10, note=cpu),
        Figure(f"{name}, p99", done.p99_ms, "ms", goal="≤ 40", met=done.p99_ms <= 40),
    ]


def _burst(bench: Bench, serving: Serving) -> Load:
    lines = BURST_LINES // (10 if bench.quick else 1) // BURST_CONNECTIONS
    load = _swarm(serving, _task(serving, BURST_CONNECTIONS, lines=lines))
    _check_all_stored(serving, load.outcome)
    return load


def _burst_figure(store: str, load: Load, chunks: int, plain_s: float) -> Figure:
    done = load.outcome
    ours, plain = done.sent_lines / done.seconds, done.sent_lines / plain_s
    met = ours / plain >= 0.7 and ours >= 800_000
    note = (
        f"{chunks} chunks; backend {load.serve_cpu:.2f} of a core, database {load.database_cpu:.2f}"
    )
    name = f"{store}, {done.sent_lines} lines from {BURST_CONNECTIONS}"
    goal = "≥ 800,000, ratio ≥ 0.7"
    return Figure(name, ours, "lines/s", "plain inserts", plain, goal, met, note)


def _plain_inserts(path: Path, tables: str, rows: list[tuple[object, ...]]) -> float:
    """Seconds that the same rows take, in transactions of about 8 MiB, as durable."""
    db = sqlite3.connect(path, isolation_level=None)
    for setting in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {setting}")
    db.executescript(tables)
    insert = f"INSERT INTO chunks VALUES ({', '.join('?' * len(rows[0]))})"
    groups, size = [list[tuple[object, ...]]()], 0
    for row in rows:
        groups[-1].append(row)
        size += len(row[-1]) if isinstance(row[-1], bytes) else 0
        if size >= _CHUNK_GROUP_BYTES:
            groups.append([])
            size = 0
    began_s = time.monotonic()
    for group in groups:
        db.execute("BEGIN")
        db.executemany(insert, group)
        db.execute("COMMIT")
    seconds = time.monotonic() - began_s
    db.close()
    return seconds


def _task(serving: Serving, connections: int, **what: float) -> Task:
    host, port = serving.address
    return Task(host, port, serving.state.ingest_token, connections, **what)  # type: ignore[arg-type]


def _swarm_argv(task: Task) -> list[str]:
    return [sys.executable, "-m", "integration.bench.swarm", json.dumps(asdict(task))]


def _swarm(serving: Serving, task: Task) -> Load:
    before_s, rss, database_s = (
        cpu_seconds(serving.pid),
        _rss(serving.pid),
        _database_cpu_s(serving),
    )
    done = subprocess.run(
        _swarm_argv(task), stdout=subprocess.PIPE, cwd=REPOSITORY, env=plain_environ(), check=False
    )
    if done.returncode:
        raise SystemExit("the swarm failed")
    outcome = Outcome(**json.loads(done.stdout.splitlines()[-1]))
    return Load(
        outcome,
        (cpu_seconds(serving.pid) - before_s) / outcome.seconds,
        (_database_cpu_s(serving) - database_s) / outcome.seconds,
        _rss(serving.pid) - rss,
    )


def _check_all_stored(serving: Serving, done: Outcome) -> None:
    """Each session ended, and all of its bytes are there."""
    found = {
        session["id"]: session for session in Backend(serving.data_dir).sessions(RATE_CONNECTIONS)
    }
    stored = 0
    for session_id in done.session_ids:
        session = found[session_id]
        if session["state"] != "exited" or session["gaps"]:
            raise SystemExit(f"session {session_id} is {session['state']}, {session['gaps']} gaps")
        stored += session["bytes"]
    if stored != done.sent_lines * LINE_BYTES:
        raise SystemExit(f"{stored} bytes are stored of {done.sent_lines * LINE_BYTES}")


def _database_cpu_s(serving: Serving) -> float:
    """What the database's processes have used; SQLite has none."""
    return 0.0


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _need_descriptors(count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} descriptors are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
