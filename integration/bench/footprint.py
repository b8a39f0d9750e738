"""What the wrapper takes where nothing happens: memory, the start, system calls."""

from __future__ import annotations

from integration.bench.harness import Bench
from integration.bench.table import Figure


def memory(bench: Bench) -> list[Figure]:
    return []


def start(bench: Bench) -> list[Figure]:
    return []


def idle(bench: Bench) -> list[Figure]:
    return []
