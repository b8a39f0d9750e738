"""What a wrapper has of spool and uplink, without the program: for tests of both with a real backend."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from ptyshipper import records
from ptyshipper.config import Colours, Overflow, SpoolSettings, Transport, UplinkSettings
from ptyshipper.records import Kind
from ptyshipper.spool.spool import Spool
from ptyshipper.uplink.uplink import Uplink
from tests.spool.spools import Warnings
from tests.support.fake_backend import wait_until

DESCRIPTION = {"deployment_id": 7, "type": "runtime", "command": ["x"], "tty": False}
TOKEN = "s3cret-token"


class Wrapper:
    """What a wrapper has of spool and uplink."""

    def __init__(
        self,
        url: str,
        directory: Path | None = None,
        *,
        ca_file: Path | None = None,
        ca_bundle: Path | None = None,
        timeout_s: float = 5.0,
        transport: Transport = "auto",
        colours: Colours = "remove",
        description: dict[str, object] = DESCRIPTION,
        overflow: Overflow = "drop",
        max_bytes: int = 64 * 2**20,
    ) -> None:
        self.session_id = os.urandom(16)
        self.warnings = Warnings()
        settings = SpoolSettings((directory,) if directory else (), max_bytes, overflow)
        self.spool = Spool.open(settings, self.session_id, dict(description), self.warnings)
        uplink_settings = UplinkSettings(
            url,
            TOKEN,
            ca_file,
            timeout_s,
            str(ca_bundle) if ca_bundle else None,
            transport,
            colours,
        )
        self.uplink = Uplink(uplink_settings, self.spool, settings, self.warnings)
        self.written = b""
        self._began_us = time.monotonic_ns() // 1000
        self._is_closed = False

    def start(self) -> None:
        self.write_record(Kind.STARTED, records.started(1, 80, 24, 0))
        self.uplink.start()

    def write(self, data: bytes, kind: int = Kind.STDOUT) -> None:
        self.written += data
        self.write_record(kind, data)

    def write_record(self, kind: int, payload: bytes) -> None:
        self.spool.append(kind, time.monotonic_ns() // 1000 - self._began_us, payload)
        self.spool.flush()

    def exit(self) -> float:
        """The program ends; how long the wrapper waits, in seconds."""
        started_s = time.monotonic()
        self.write_record(Kind.EXITED, records.exited(0, 0, False))
        self.uplink.finish()
        ready, _, _ = select.select([self.uplink.done_fd], [], [], 20)
        assert ready, "done_fd never became readable"
        return time.monotonic() - started_s

    def close(self) -> None:
        """End whatever still runs; by now the backend may be gone."""
        if not self._is_closed:
            self._is_closed = True
            self.uplink._settings = self.uplink._settings._replace(flush_timeout_s=0.0)
            self.uplink.finish()
            assert wait_until(lambda: self.uplink.is_idle)
            self.spool.close()

    def is_acknowledged(self) -> bool:
        return self.spool.ledger.acked_offset == self.spool.ledger.head.offset
