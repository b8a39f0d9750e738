"""What an orchestrator and a monitor ask a real backend."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.operating import make_token, metrics_of
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record


def test_everybody_may_ask_whether_it_lives_and_is_ready(server: Server) -> None:
    assert server.get("/healthz", token="") == (200, "ok\n")
    assert server.get("/readyz", token="") == (200, "ready\n")


def test_metrics_are_for_who_may_see_everything(server: Server) -> None:
    """Not for shippers, not for readers of one app, and for nobody without a token although this is
    loopback: behind a proxy everybody comes from there."""
    assert server.get("/metrics", token="")[0] == 401
    assert server.get("/metrics", token="wrong")[0] == 403
    assert server.get("/metrics", token=server.state.ingest_token)[0] == 403
    assert server.get("/metrics", token=make_token(server, app_id=5))[0] == 403
    assert server.get("/metrics", token=make_token(server))[0] == 200


def test_what_a_session_and_its_viewer_do_is_counted(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        before = metrics_of(server)
        shipper = Shipper(server, os.urandom(16))
        records = start_record() + output(b"a\nb\n") + exit_record()
        shipper.ship(records)
        with server.view(shipper.session_id, follow=True) as viewer:
            viewer.recv(20)
            now = metrics_of(server)
            assert now["ptyshipper_shippers"] == now["ptyshipper_sessions_connected"] == 1
            assert viewer.recv(20)
        for name, more in {
            "received_batches_total": 1,
            "received_bytes_total": len(records),
            "stored_bytes_total": len(records),
            "stored_entries_total": 3,
            "ack_seconds_count": 1,
            "delay_seconds_count": 1,
        }.items():
            assert now[f"ptyshipper_{name}"] - before[f"ptyshipper_{name}"] == more, name
        assert now["ptyshipper_commit_seconds_count"] > before["ptyshipper_commit_seconds_count"]
        assert now["ptyshipper_commit_seconds_sum"] > 0, "SQLite commits on the loop's thread"
        assert now["process_open_fds"] > 0
        shipper.socket.close()


def test_a_wrong_token_is_counted_and_told_without_it(tmp_path: Path) -> None:
    with running_server(tmp_path, log_format="json") as server:
        for _ in range(3):
            assert server.get("/api/sessions", token="a-very-wrong-token")[0] == 403
        assert metrics_of(server)["ptyshipper_refusals_total cause=token peer=viewer"] == 3
        logged = server.log_path.read_text()
        assert logged.count("a viewer was refused") == 1
        assert '"cause": "token"' in logged
        assert "a-very-wrong-token" not in logged


HANGS = """
import asyncio
from ptyshipper.backend import health
from ptyshipper.backend.store import sqlite
health.READY_WITHIN_S = 0.05
async def horizon(self): await asyncio.Event().wait()
sqlite.SqliteStore.horizon = horizon
"""


def test_a_store_that_hangs_is_alive_and_not_ready(tmp_path: Path) -> None:
    with running_server(tmp_path, preamble=HANGS) as server:
        assert server.get("/healthz", token="")[0] == 200
        assert server.get("/readyz", token="") == (503, "the store does not answer\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_but_a_look_is_taken(server: Server, path: str) -> None:
    address = urlsplit(server.state.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("POST", path, b"x")
    assert connection.getresponse().status == 405
    connection.close()
