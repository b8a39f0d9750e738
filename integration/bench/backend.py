"""The backend under many shippers: latency, throughput, memory; on SQLite and on Postgres.

The shippers are a process of their own (``swarm``) on the other core. What was stored is counted
afterwards: a figure with losses would be none.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import asyncpg

from integration.bench.harness import (
    LOG_SHIPPER,
    REPOSITORY,
    Bench,
    Serving,
    cpu_seconds,
    descendants,
    plain_environ,
    wait_for,
)
from integration.bench.swarm import LINE_BYTES, Outcome, Task
from integration.bench.table import Figure
from ptyshipper.backend.bridge.rows import BURST
from ptyshipper.view.client import Backend
from tests.support.anvilops_database import add_app, make_tables
from tests.support.postgres import Postgres, programs, query, running_postgres

RATE_CONNECTIONS, RATE_LINES_A_SECOND = 1_000, 10
BURST_CONNECTIONS, BURST_LINES = 10, 1_000_000
IDLE_CONNECTIONS = 5_000
_CHUNK_GROUP_BYTES = 8 << 20
_KIB = 1024
_SECRET = "a-secret-of-an-app-of-anvilops"


class Load(NamedTuple):
    """What a swarm did to a backend: CPU seconds a second of the backend and of its database, and how
    much the backend grew, in bytes."""

    outcome: Outcome
    serve_cpu: float
    database_cpu: float
    grown_bytes: int


def sqlite_rate(bench: Bench) -> list[Figure]:
    return _rate(bench, "SQLite", bench.serving())


def postgres_rate(bench: Bench) -> list[Figure]:
    if not _has_postgres():
        return []
    with running_postgres() as postgres, postgres.database() as url:
        return _rate(bench, "Postgres", bench.serving("--store", url), postgres)


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


def postgres_burst(bench: Bench) -> list[Figure]:
    """Beside plain inserts of the same chunks by the same driver, in transactions as large."""
    if not _has_postgres():
        return []
    with running_postgres() as postgres, postgres.database() as url:
        with bench.serving("--store", url) as serving:
            load = _burst(bench, serving, postgres)
        chunks, plain_s = asyncio.run(_plain_inserts_by_asyncpg(url))
    return [_burst_figure("Postgres", load, chunks, plain_s)]


def wrappers_burst(bench: Bench) -> list[Figure]:
    """The same from real wrappers, each with a program that prints as fast as it can; everything counts,
    from their start to the last acknowledgement, on the same two cores."""
    lines = BURST_LINES // (10 if bench.quick else 1) // BURST_CONNECTIONS
    size = lines * LINE_BYTES
    text = bench.text_file(size)
    with bench.serving() as serving:
        began_s, backend_s = time.monotonic(), cpu_seconds(serving.pid)
        wrapped = [
            subprocess.Popen(
                [*LOG_SHIPPER, "cat", text],
                stdout=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env=bench.environ(shipping=True, to=serving.state),
            )
            for _ in range(BURST_CONNECTIONS)
        ]
        statuses = [each.wait(120) for each in wrapped]
        seconds = time.monotonic() - began_s
        backend_s = cpu_seconds(serving.pid) - backend_s
        found = Backend(serving.data_dir).sessions(BURST_CONNECTIONS)
    bench.forget_spools()
    stored = sum(session["bytes"] for session in found)
    if any(statuses) or stored != size * BURST_CONNECTIONS:
        raise SystemExit(
            f"statuses {statuses}, {stored} of {size * BURST_CONNECTIONS} bytes stored"
        )
    megabytes = size * BURST_CONNECTIONS / 1e6
    note = f"backend {backend_s / seconds:.2f} of a core; the wrappers take the rest"
    name = f"SQLite, {megabytes:.0f} MB from {BURST_CONNECTIONS} wrapped programs"
    return [Figure(name, megabytes / seconds, "MB/s", note=note)]


def bridge_burst(bench: Bench) -> list[Figure]:
    """From the first byte until the last line is a row of AnvilOps' table, beside COPY of the same rows by
    the same driver: all of them at once, and in transactions of as many as the live view takes."""
    if not _has_postgres():
        return []
    lines = BURST_LINES // (10 if bench.quick else 2) // BURST_CONNECTIONS
    deployments = range(1, 1 + BURST_CONNECTIONS)
    with running_postgres() as postgres, postgres.database() as url:
        make_tables(url)
        add_app(url, 1, _SECRET, *deployments)
        with bench.serving("--store", url, "--anvilops") as serving:
            task = _task(serving, BURST_CONNECTIONS, lines=lines)
            began_s = time.monotonic()
            _swarm(serving, replace(task, token=_SECRET, deployment_id=1, is_spread=True), postgres)
            total = lines * BURST_CONNECTIONS
            wait_for(lambda: query(url, 'SELECT count(*) FROM "Log"')[0][0] == total or None, 120)
            ours = total / (time.monotonic() - began_s)
        at_once = total / asyncio.run(_copy_again(url, total))
        by_portions = total / asyncio.run(_copy_again(url, BURST * BURST_CONNECTIONS))
    name = f"bridge, {total} lines of {BURST_CONNECTIONS} deployments"
    note = f"COPY in transactions of {BURST * BURST_CONNECTIONS}: {by_portions:.0f} lines/s"
    met = ours / at_once >= 0.7
    return [Figure(name, ours, "lines/s", "COPY at once", at_once, "ratio ≥ 0.7", met, note)]


async def _copy_again(url: str, at_a_time: int) -> float:
    """Seconds that the rows of ``"Log"`` take into a table like it, so many a transaction."""
    connection = await asyncpg.connect(url)
    await connection.execute('CREATE TABLE again (LIKE "Log" INCLUDING ALL)')
    await connection.execute(
        'ALTER TABLE again ADD FOREIGN KEY ("deploymentId") REFERENCES "Deployment"'
    )
    columns = ["type", "deploymentId", "timestamp", "index", "content", "podName", "stream"]
    quoted = ", ".join(f'"{column}"' for column in columns)
    rows = [tuple(row) for row in await connection.fetch(f'SELECT {quoted} FROM "Log" ORDER BY id')]
    began_s = time.monotonic()
    for at in range(0, len(rows), at_a_time):
        await connection.copy_records_to_table(
            "again", columns=columns, records=rows[at : at + at_a_time]
        )
    seconds = time.monotonic() - began_s
    await connection.execute("DROP TABLE again")
    await connection.close()
    return seconds


def _has_postgres() -> bool:
    if programs() is None:
        print("Postgres is not installed, and not measured", file=sys.stderr)
    return programs() is not None


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


def _rate(
    bench: Bench, store: str, serving: Serving, postgres: Postgres | None = None
) -> list[Figure]:
    connections = 200 if bench.quick else RATE_CONNECTIONS
    _need_descriptors(2 * connections)
    seconds = 5.0 if bench.quick else 20.0
    with serving:
        task = _task(serving, connections, line_rate=RATE_LINES_A_SECOND, seconds=seconds)
        load = _swarm(serving, task, postgres)
        _check_all_stored(serving, load.outcome)
    done = load.outcome
    cpu = f"backend {load.serve_cpu:.2f} of a core, {load.grown_bytes / connections / _KIB:.0f} KiB each"
    if load.database_cpu:
        cpu += f", database {load.database_cpu:.2f}"
    at_once = (
        f"all starts at one instant took {done.started_ms:.0f} ms, all exits {done.exited_ms:.0f}"
    )
    name = f"{store}, {connections} x {RATE_LINES_A_SECOND} lines/s, to the ACK"
    return [
        Figure(f"{name}, p50", done.p50_ms, "ms", goal="≤ 10", met=done.p50_ms <= 10, note=cpu),
        Figure(f"{name}, p99", done.p99_ms, "ms", goal="≤ 40", met=done.p99_ms <= 40, note=at_once),
    ]


def _burst(bench: Bench, serving: Serving, postgres: Postgres | None = None) -> Load:
    lines = BURST_LINES // (10 if bench.quick else 1) // BURST_CONNECTIONS
    load = _swarm(serving, _task(serving, BURST_CONNECTIONS, lines=lines), postgres)
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
    groups = _groups(rows)
    began_s = time.monotonic()
    for group in groups:
        db.execute("BEGIN")
        db.executemany(insert, group)
        db.execute("COMMIT")
    seconds = time.monotonic() - began_s
    db.close()
    return seconds


async def _plain_inserts_by_asyncpg(url: str) -> tuple[int, float]:
    """How many chunks there are, and the seconds that they take."""
    connection = await asyncpg.connect(url)
    rows = [tuple(row) for row in await connection.fetch("SELECT * FROM ptyshipper.chunks")]
    await connection.execute("CREATE TABLE plain (LIKE ptyshipper.chunks INCLUDING ALL)")
    insert = f"INSERT INTO plain VALUES ({', '.join(f'${n}' for n in range(1, len(rows[0]) + 1))})"
    groups = _groups(rows)
    began_s = time.monotonic()
    for group in groups:
        await connection.executemany(insert, group)  # one transaction
    seconds = time.monotonic() - began_s
    await connection.close()
    return len(rows), seconds


def _groups(rows: list[tuple[object, ...]]) -> list[list[tuple[object, ...]]]:
    """The rows in groups of about 8 MiB of records, which come last in each."""
    groups, size = [list[tuple[object, ...]]()], 0
    for row in rows:
        if size >= _CHUNK_GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += len(row[-1]) if isinstance(row[-1], bytes) else 0
    return groups


def _task(serving: Serving, connections: int, **what: float) -> Task:
    host, port = serving.address
    return Task(host, port, serving.state.ingest_token, connections, **what)  # type: ignore[arg-type]


def _swarm_argv(task: Task) -> list[str]:
    return [sys.executable, "-m", "integration.bench.swarm", json.dumps(asdict(task))]


def _swarm(serving: Serving, task: Task, postgres: Postgres | None = None) -> Load:
    before_s, rss, database_s = (
        cpu_seconds(serving.pid),
        _rss(serving.pid),
        _database_cpu_s(postgres),
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
        (_database_cpu_s(postgres) - database_s) / outcome.seconds,
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


def _database_cpu_s(postgres: Postgres | None) -> float:
    """What the database's processes have used; SQLite has none."""
    if postgres is None:
        return 0.0
    return sum(cpu_seconds(pid) for pid in (postgres.pid, *descendants(postgres.pid)))


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _need_descriptors(count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} descriptors are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
