"""Deletes what is too old or too much, a little at a time: ingest waits for one step at most.

Several backends on one store may do so at once; each step is the store's own transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.faults import where
from ptyshipper.backend.journal import NAME, told
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError

LOOK_EVERY_S = 30.0
STEP_WITHIN_S = 0.02
SHARE = 0.1
"""Of the time is spent on it, where there is much to delete."""
MAX_STEP_CHUNKS = 256

log = logging.getLogger(NAME)


class Retention(NamedTuple):
    """What is kept: what was stored in the last ``keep_s`` seconds, and of that the newest ``max_bytes`` of
    records; None: without such a bound."""

    keep_s: float | None
    max_bytes: int | None


class Pace:
    """How much a step deletes, and how long to rest after it. Pure."""

    def __init__(self) -> None:
        self.chunks = 16

    def rest_s(self, deleted: int, took_s: float) -> float:
        """A step deleted so many in that time: how long to rest. The next one takes ``chunks``."""
        if took_s > STEP_WITHIN_S:
            self.chunks = max(1, self.chunks // 2)
        elif took_s < STEP_WITHIN_S / 4 and deleted >= self.chunks:
            self.chunks = min(MAX_STEP_CHUNKS, self.chunks * 2)
        return max(took_s / SHARE - took_s, 0.001) if deleted else LOOK_EVERY_S


async def keep_to(retention: Retention, store: Store, counts: Counts) -> None:
    """Keep the store to it, until this is cancelled."""
    if retention == Retention(None, None):
        return
    pace, deleted_in_all = Pace(), 0
    while True:
        began_s = time.monotonic()
        deleted = await _step(retention, store, counts, pace.chunks)
        deleted_in_all += deleted
        if deleted == 0 and deleted_in_all:
            log.info("retention deleted the oldest", extra=told(chunks_and_sessions=deleted_in_all))
            deleted_in_all = 0
        await asyncio.sleep(pace.rest_s(deleted, time.monotonic() - began_s))


async def _step(retention: Retention, store: Store, counts: Counts, chunks: int) -> int:
    before_us = 0
    if retention.keep_s is not None:
        before_us = time.time_ns() // 1000 - int(retention.keep_s * 1e6)
    try:
        deleted = await store.expire(before_us, retention.max_bytes, chunks)
    except StoreError as error:
        counts.store_errors["expire"] += 1
        log.error("nothing could be deleted: %s", error)
        return 0
    except Exception as error:
        # The last resort: without retention the disk fills up.
        counts.store_errors["expire"] += 1
        log.error("retention failed: %s", where(error))
        return 0
    counts.expired += deleted
    return deleted
