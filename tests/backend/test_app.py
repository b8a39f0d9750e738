"""``serve`` as a process: where it listens, what it leaves behind, what it refuses."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ptyshipper import statefile
from ptyshipper.backend.app import serve
from ptyshipper.backend.credentials import Kind, issue
from ptyshipper.backend.stores import open_for_tokens
from ptyshipper.errors import BackendError
from ptyshipper.serve_config import ServeSettings, serve_settings
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from tests.support.patience import PATIENCE_S, until
from tests.support.raw_peer import unread_viewer
from tests.support.running import Running, kill_all
from tests.support.server import REPOSITORY, Server, Shipper, output, running_server, start_record
from tests.support.wrapping import BARE_ENVIRON, PTYSHIPPER


def settings(data_dir: Path, **flags: str) -> ServeSettings:
    """Of a backend in this process, on a free port."""
    return serve_settings({}, {"port": "0", "data_dir": str(data_dir), **flags})


def test_graceful_stop_stores_acknowledges_and_tidies_up(tmp_path: Path) -> None:
    """A shipper is told to come back (1012), and does with the token that it has."""
    with running_server(tmp_path) as server:
        token = server.state.ingest_token
        shipper = Shipper(server, os.urandom(16))
        shipper.send(start_record())
        shipper.wait_acknowledged()
        assert server.stop() == 0
        with pytest.raises(ConnectionClosed) as caught:
            shipper.socket.recv(5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == CloseCode.RESTARTING
        assert statefile.read(server.data_dir) is None
        server.start()
        assert server.state.ingest_token == token
        again = Shipper(server, shipper.session_id)
        assert again.offset == len(start_record())
        again.ship(output(b"on"))
        again.socket.close()
        assert server.log_path.read_text() == ""


FROZEN = """
import asyncio, os
from ptyshipper.backend.ingest import hub
from ptyshipper.backend.store import sqlite
hub.STOP_WITHIN_S = {within_s}
stored = sqlite.SqliteStore.commit
async def commit(self, *asked):
    done = await stored(self, *asked)
    while os.path.exists({flag!r}):
        await asyncio.sleep(0.01)
    return done
sqlite.SqliteStore.commit = commit
"""


def closed_with(shipper: Shipper) -> tuple[int, int]:
    """What was acknowledged last before the close, and its code."""
    acknowledged = -1
    while True:
        try:
            message = shipper.expect()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "cut without a word"  # noqa: PT017
            return acknowledged, closed.rcvd.code
        assert isinstance(message, messages.Ack)
        acknowledged = message.offset


def test_who_drains_acknowledges_first_and_takes_nobody_new(tmp_path: Path) -> None:
    """While its store takes its time, it is alive and not ready; a shipper hears of its last commit before
    it is sent away, and a viewer is sent away, too."""
    flag = tmp_path / "frozen"
    preamble = FROZEN.format(within_s=60, flag=str(flag))
    with running_server(tmp_path, preamble=preamble, log_format="json") as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record())
        viewer = server.view(shipper.session_id, follow=True)
        assert viewer.recv(10)
        flag.touch()
        shipper.send(output(b"the last"))
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/readyz", "") == (503, "draining\n"), "it drains")
        assert server.get("/healthz", "")[0] == 200
        with pytest.raises(InvalidStatus) as caught:
            server.connect()
        assert caught.value.response.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) > 0
        shipper.send(output(b"too late"))
        flag.unlink()
        last = len(start_record() + output(b"the last"))
        assert closed_with(shipper) == (last, CloseCode.RESTARTING)
        with pytest.raises(ConnectionClosed) as closed:
            viewer.recv(10), viewer.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.RESTARTING
        assert server.process.wait(10) == 0
        told = [json.loads(line) for line in server.log_path.read_text().splitlines()]
        assert [line["message"] for line in told if line["level"] == "info"] == [
            "listening", "draining", "stopped",
        ]  # fmt: skip
        server.process = None
        server.start()
        again = Shipper(server, shipper.session_id)
        assert again.offset == last
        again.socket.close()


def test_a_store_that_hangs_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    """Nor does a viewer that never reads; nothing that was not stored was acknowledged."""
    flag = tmp_path / "frozen"
    preamble = FROZEN.format(within_s=0.2, flag=str(flag))
    with running_server(tmp_path, preamble=preamble) as server:
        shipper = Shipper(server, os.urandom(16))
        for _ in range(100):
            shipper.ship(output(os.urandom(60_000)))
        with unread_viewer(server, shipper.session_id):
            flag.touch()
            acknowledged = shipper.offset
            shipper.send(output(b"x"))
            assert server.stop() == 0
        assert closed_with(shipper) == (-1, CloseCode.RESTARTING)
        assert "took too long" in server.log_path.read_text()
        flag.unlink()
        server.start()
        again = Shipper(server, shipper.session_id)
        assert again.offset >= acknowledged
        again.socket.close()


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
        assert (server.data_dir / "server.json").stat().st_mode & 0o777 == 0o600
        assert (server.data_dir / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_recordings_are_the_owners_alone_in_any_directory(tmp_path: Path) -> None:
    """One that others may look into, and one with files that an earlier version made."""
    server = Server(tmp_path / "data")
    server.data_dir.mkdir(mode=0o755)
    server.data_dir.chmod(0o755)
    (server.data_dir / "ptyshipper.db").touch(mode=0o644)
    server.start()
    try:
        Shipper(server, os.urandom(16)).socket.close()
        modes = {each.name: each.stat().st_mode & 0o777 for each in server.data_dir.iterdir()}
        assert {"ptyshipper.db", "ptyshipper.db-wal", "ptyshipper.db-shm"} <= modes.keys()
        assert set(modes.values()) == {0o600}
    finally:
        server.stop()


def test_failing_sweep_is_told_and_not_the_last(tmp_path: Path) -> None:
    """Time-outs depend on it."""
    preamble = (
        "from ptyshipper.backend import app\n"
        "from ptyshipper.backend.ingest.hub import Hub\n"
        "app.SWEEP_EVERY_S = 0.05\n"
        "async def fail(*_): raise KeyError('sweep')\n"
        "Hub.sweep = fail\n"
    )
    with running_server(tmp_path, preamble=preamble) as server:
        deadline = time.monotonic() + 10
        while server.log_path.read_text().count("KeyError: 'sweep'") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.stop() == 0


def test_second_backend_of_a_directory_is_refused(server: Server) -> None:
    """And leaves the first one's server.json alone."""
    with pytest.raises(BackendError, match="another 'ptyshipper serve'"):
        serve(settings(server.data_dir), announce=print)
    assert statefile.read(server.data_dir) == server.state


def test_killed_backend_leaves_no_lock(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.kill()
        server.start()
        assert server.get("/healthz")[0] == 200


def test_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BackendError) as caught:
            serve(settings(tmp_path / "data", port=str(port)), announce=print)
    assert str(port) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert statefile.read(tmp_path / "data") is None


def test_directory_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="can't make the directory") as caught:
        serve(settings(tmp_path / "file" / "data"), announce=print)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["no such host", "999.1.1.1"])
def test_host_that_is_none_is_told_in_one_line(tmp_path: Path, host: str) -> None:
    with pytest.raises(BackendError, match="can't listen"):
        serve(settings(tmp_path / "data", host=host), announce=print)


def test_announces_where_it_listens_once_it_does(tmp_path: Path) -> None:
    """The url in server.json is the one announced, and a wildcard address is not part of it."""
    code = (
        "import os, signal, sys; from ptyshipper.backend.app import serve\n"
        "from ptyshipper.serve_config import serve_settings\n"
        "def announce(line): print(line, flush=True); os.kill(os.getpid(), signal.SIGTERM)\n"
        "flags = {'host': '0.0.0.0', 'port': '0', 'data_dir': sys.argv[1]}\n"
        "serve(serve_settings({}, flags), announce=announce)"
    )
    make_token(tmp_path / "data", "ingest")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "data"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        timeout=15,
        check=True,
    )
    assert done.stdout.startswith(b"listening on http://127.0.0.1:")
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def make_token(data_dir: Path, kind: Kind, **times: int) -> None:
    """Before any backend runs there."""

    async def make() -> None:
        store = await open_for_tokens(data_dir, None)
        await store.add_token(issue(kind, 1)[1]._replace(**times))
        await store.close()

    asyncio.run(make())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_nobody_listens_for_others_before_there_is_a_token_for_them(
    tmp_path: Path, host: str
) -> None:
    """One that is good, and for shippers; the line says how to make it."""
    data_dir = tmp_path / "data"
    make_token(data_dir, "view")
    make_token(data_dir, "ingest", expires_us=2)
    make_token(data_dir, "ingest", revoked_us=2)
    with pytest.raises(BackendError, match="ptyshipper token create --deployment") as caught:
        serve(settings(data_dir, host=host), announce=pytest.fail)
    assert "\n" not in str(caught.value)
    assert statefile.read(data_dir) is None


def test_with_a_token_it_listens_for_others(tmp_path: Path) -> None:
    """Who comes by another address than the loopback's is served."""
    make_token(tmp_path / "data", "ingest")
    with running_server(tmp_path, host="0.0.0.0") as server:
        port = urlsplit(server.state.url).port
        with socket.create_connection(("127.1.2.3", port), 10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_the_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    with running_server(tmp_path, host=host) as server:
        assert server.get("/healthz")[0] == 200


@pytest.fixture
def tidied() -> Iterator[None]:
    """What a failed test has started is ended."""
    yield
    kill_all()


@pytest.mark.usefixtures("tidied")
def test_a_person_is_shown_a_link_and_a_log_is_not(tmp_path: Path) -> None:
    """Only a terminal is: what a supervisor keeps of it must let nobody in."""
    command = [*PTYSHIPPER, "serve", "--port", "0", "--data"]
    shown = Running([*command, str(tmp_path / "a")], BARE_ENVIRON, terminal=True)
    kept = Running([*command, str(tmp_path / "b")], BARE_ENVIRON)
    until(lambda: shown.out.count(b"\n") == 2, "it is announced")
    until(lambda: kept.out.count(b"\n") == 1, "it is announced")
    link = re.search(rb"http://(\S+?)(/login\?code=psl_\S+)", shown.out)
    assert link is not None
    connection = http.client.HTTPConnection(link[1].decode(), timeout=PATIENCE_S)
    connection.request("GET", link[2].decode())
    assert connection.getresponse().status == 303
    connection.close()
    for each in (shown, kept):
        each.process.send_signal(signal.SIGTERM)
        assert each.wait() == 0
        assert each.err == b""
    assert b"psl_" not in kept.out
    assert kept.out.count(b"\n") == 1
