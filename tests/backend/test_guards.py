"""What uvicorn leaves to a proxy: requests without an end, or more connections than descriptors."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from ptyshipper.records import Record
from ptyshipper.view.client import Backend
from tests.support.operating import metrics_of
from tests.support.patience import until
from tests.support.raw_peer import raw_connection, unread_viewer
from tests.support.server import Server, Shipper, exit_record, output, running_server
from tests.support.streams import asked


def closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65_536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    return True


def test_request_without_an_end_is_cut_off(server: Server) -> None:
    """After 64 KiB of headers; the backend goes on."""
    with raw_connection(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-Header: " + b"x" * 2_000 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert closed(connection)
    assert server.get("/healthz")[0] == 200


def test_what_is_no_http_is_refused_without_a_word_in_the_log(server: Server) -> None:
    logged = server.log_path.read_text()
    with raw_connection(server) as connection:
        connection.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
        assert b" 400 " in connection.recv(4_096)
    assert server.log_path.read_text() == logged


def test_peer_that_pings_and_never_reads_is_cut_off(server: Server) -> None:
    """What it is answered waits in the backend's memory."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"x"))
    pings = (b"\x89\xfd" + b"\0" * 4 + b"p" * 125) * 500
    with (
        unread_viewer(server, shipper.session_id) as connection,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        connection.sendall(pings * 2_000)  # 130 MB
    assert server.get("/healthz")[0] == 200
    shipper.socket.close()


def test_peer_that_pings_and_reads_may_go_on(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(output(b"x"))
    with server.view(shipper.session_id, follow=True) as viewer:
        viewer.recv(5)
        for _ in range(5_000):  # twice the bound
            assert viewer.ping(os.urandom(125)).wait(5)
    shipper.socket.close()


STALLED_ANSWER = "from ptyshipper.backend import guards\nguards.STALLED_ANSWER_WITHIN_S = 0.3\n"


def test_reader_of_a_stream_who_never_reads_gives_the_seat_back(tmp_path: Path) -> None:
    with running_server(tmp_path, preamble=STALLED_ANSWER, max_viewers="1") as server:
        shipper = Shipper(server, os.urandom(16))
        for _ in range(400):
            shipper.ship(output(b"line\n" * 12_000))
        path = f"/api/sessions/{shipper.session_id.hex()}/lines/live?from=0"
        with asked(server, path) as stalled:
            assert stalled.status == 200
            taken = "ptyshipper_viewers kind=stream"
            until(lambda: metrics_of(server)[taken] == 0, "the seat is free")
        shipper.socket.close()


STALLING = "from ptyshipper.backend import guards\nguards.STALLED_WITHIN_S = 0.3\n"


def test_viewer_that_never_reads_is_cut_off_and_one_that_pauses_misses_nothing(
    tmp_path: Path,
) -> None:
    """``logs | less`` pauses for as long as a person reads."""
    with running_server(tmp_path, preamble=STALLING) as server:
        shipper = Shipper(server, os.urandom(16))
        for _ in range(400):
            shipper.ship(output(os.urandom(60_000)))
        shipper.ship(exit_record())
        with unread_viewer(server, shipper.session_id) as connection:
            time.sleep(1.5)
            size = 0
            try:
                while piece := connection.recv(1 << 20):
                    size += len(piece)
            except ConnectionResetError:
                pass
            assert size < 20_000_000
        reading = Backend(server.data_dir).records(shipper.session_id.hex())
        size = 0
        for number, item in enumerate(reading):
            if number == 20:
                time.sleep(1.5)
            size += len(item.payload) if isinstance(item, Record) else 0
        assert size == 400 * 60_000 + 3
        shipper.socket.close()
