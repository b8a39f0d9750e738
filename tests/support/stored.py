"""What the backend holds of sessions, gaps included, and whether that is what a program wrote."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ptyshipper.records import OUTPUT_KINDS, Gap, GapCause, Kind, Record, decode, read_gap
from ptyshipper.wire import messages
from tests.support.patience import until
from tests.support.server import Server

FD_KINDS = {Kind.TTY: 0, Kind.STDOUT: 1, Kind.STDERR: 2}
"""The number under which ``writer.written`` has what a kind of record should hold."""


class Stored:
    """One session, read through the viewer's WebSocket: nothing may be missing or come twice there.

    ``streams`` has the bytes by 0 (terminal), 1, 2; ``gaps`` the gaps; ``events`` the records.
    """

    def __init__(self, server: Server, session: Mapping[str, Any]) -> None:
        self.session = session
        self.events: list[Record] = []
        offset = 0
        with server.view(bytes.fromhex(session["id"])) as viewer:
            while True:
                raw = viewer.recv(30)
                assert isinstance(raw, bytes)
                message = messages.read_viewer_message(raw)
                if isinstance(message, messages.Summary):
                    self.summary = message.session
                    break
                assert message.offset == offset, f"a batch at {message.offset}, {offset} was next"
                for record in decode(message.records):
                    self.events.append(record)
                    is_gap = record.kind == Kind.GAP
                    offset += read_gap(record.payload).span if is_gap else record.size
        parts: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for record in self.events:
            if record.kind in OUTPUT_KINDS:
                parts[FD_KINDS[Kind(record.kind)]].append(record.payload)
        self.streams = {fd: b"".join(pieces) for fd, pieces in parts.items()}

    @property
    def gaps(self) -> list[Gap]:
        return [read_gap(r.payload) for r in self.events if r.kind == Kind.GAP]

    @property
    def causes(self) -> set[GapCause]:
        return {GapCause(gap.cause) for gap in self.gaps}

    @property
    def lost_bytes(self) -> int:
        return sum(gap.lost_bytes for gap in self.gaps)

    @property
    def output_bytes(self) -> int:
        return sum(map(len, self.streams.values()))

    def check_in_place(self, all_written: bytes) -> None:
        """Of a program with one stream: stored and lost add up, and each stored byte is the one that
        was written at its place."""
        at = 0
        for record in self.events:
            if record.kind == Kind.GAP:
                at += read_gap(record.payload).lost_bytes
            elif record.kind in OUTPUT_KINDS:
                assert record.payload == all_written[at : at + len(record.payload)], f"at byte {at}"
                at += len(record.payload)
        assert at == len(all_written), "stored and lost bytes add up to what was written"


def sessions_of(server: Server, deployment_id: int) -> list[dict[str, Any]]:
    """The sessions of a deployment, oldest first."""
    found = server.get("/api/sessions?limit=1000")[1]["sessions"]
    return [s for s in reversed(found) if s["deployment_id"] == deployment_id]


def only_session(server: Server, deployment_id: int) -> Stored:
    """The deployment's one session, once it has been stored."""
    until(lambda: sessions_of(server, deployment_id), f"there is a session of {deployment_id}")
    (session,) = sessions_of(server, deployment_id)
    return Stored(server, session)


_next_id = time.time_ns() // 1000 % 1_000_000 * 1_000


def fresh_deployment_id() -> int:
    """One that no other test of this run uses: how a test finds its own sessions."""
    global _next_id
    _next_id += 1
    return _next_id
