"""``python -m integration.bench``: one table; see ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

from integration.bench import (
    anvilops,
    backend,
    bundle,
    cpu,
    footprint,
    latency,
    lines,
    page,
    terminal_view,
    throughput,
)
from integration.bench.harness import Bench
from integration.bench.table import Figure, as_json, render

GROUPS: dict[str, Callable[[Bench], list[Figure]]] = {
    "latency-pipe": latency.latency_on_pipe,
    "latency-pty": latency.latency_on_pty,
    "page": page.page,
    "terminal-view": terminal_view.terminal_view,
    "cpu-lines": cpu.lines_cpu,
    "start": footprint.start,
    "memory": footprint.memory,
    "idle": footprint.idle,
    "anvilops": anvilops.anvilops,
    "bundle": bundle.bundle,
    "image": bundle.image,
    "backend-sqlite-rate": backend.sqlite_rate,
    "backend-postgres-rate": backend.postgres_rate,
    "backend-memory": backend.backend_memory,
    "lines": lines.lines,
    "pty": throughput.pty_throughput,
    "pipe": throughput.pipe_throughput,
    "cpu-bulk": cpu.bulk_cpu,
    "backend-sqlite-burst": backend.sqlite_burst,
    "backend-bridge": backend.bridge_burst,
    "backend-wrappers": backend.wrappers_burst,
    "backend-postgres-burst": backend.postgres_burst,
}
"""The quiet ones first: what the others leave for the disk to write would be in their way."""


def main() -> None:
    parser = argparse.ArgumentParser(
        "make bench",
        description="Measure the wrapper, each figure beside a peer's in the same run.",
    )
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer rounds")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help=f"only figures whose group begins with NAME; may be repeated: {', '.join(GROUPS)}",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a figure")
    args = parser.parse_args()
    wanted = [name for name in GROUPS if not args.only or name.startswith(tuple(args.only))]
    if not wanted:
        parser.error(
            f"no group begins with {' or '.join(args.only)}; there are {', '.join(GROUPS)}"
        )
    figures: list[Figure] = []
    with Bench(quick=args.quick) as bench:
        for name in wanted:
            os.sync()
            began_s = time.monotonic()
            figures += GROUPS[name](bench)
            print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    if args.json:
        for figure in figures:
            print(json.dumps(as_json(figure)))
    else:
        print(render(figures))


if __name__ == "__main__":
    main()
