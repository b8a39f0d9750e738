"""AnvilOps' own database as the store: its tokens count, and its table has every line once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.test_conservation import chance
from ptyshipper.records import Kind
from tests.backend.ingest.test_posts import body, send
from tests.support.anvilops_database import LiveView, add_app, logged, make_tables
from tests.support.patience import until
from tests.support.postgres import Postgres, query
from tests.support.server import Server, Shipper, exit_record, output, start_record

__all__ = ["chance"]

SECRET, OTHER_SECRET = "s3cret-of-app-seven", "s3cret-of-app-eight"
APP, OTHER_APP, DEPLOYMENT, OTHER_DEPLOYMENT = 7, 8, 70, 80


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """AnvilOps' database, with two apps."""
    with postgres.database() as found:
        make_tables(found)
        add_app(found, APP, SECRET, DEPLOYMENT, DEPLOYMENT + 1)
        add_app(found, OTHER_APP, OTHER_SECRET, OTHER_DEPLOYMENT)
        yield found


@pytest.fixture
def server(tmp_path: Path, url: str) -> Iterator[Server]:
    made = Server(tmp_path / "data", store_url=url, anvilops="yes")
    made.start()
    yield made
    if made.process is not None:
        made.kill()


class SecretShipper(Shipper):
    """A shipper with the secret of an app of AnvilOps'."""

    def __init__(
        self, server: Server, session_id: bytes, secret: str = SECRET, **about: object
    ) -> None:
        state, server.state = server.state, replace(server.state, ingest_token=secret)
        try:
            super().__init__(server, session_id, **{"deployment_id": DEPLOYMENT, **about})
        finally:
            server.state = state


def ident(number: int) -> bytes:
    return number.to_bytes(16, "big")


def wait_logged(url: str, count: int, deployment_id: int = DEPLOYMENT) -> list[str]:
    until(lambda: len(logged(url, deployment_id)) >= count, f"{count} rows are there")
    return [row.content for row in logged(url, deployment_id)]


def test_lines_become_rows_with_the_records(server: Server, url: str) -> None:
    """In the same transaction, so that the ACK vouches for both; as AnvilOps' ingest would write them."""
    shipper = SecretShipper(server, ident(1), hostname="web-0")
    shipper.ship(start_record() + output(b"one\ntwo\nthr"))
    rows = logged(url, DEPLOYMENT)
    assert [(row.content, row.type, row.pod, row.stream) for row in rows] == [
        ("one", "RUNTIME", "web-0", "stdout"),
        ("two", "RUNTIME", "web-0", "stdout"),
    ]
    assert rows[0].timestamp.isoformat() == "2023-11-14T22:13:20.001000"
    shipper.ship(output(b"\x1b[31mred\x1b[0m \0\r\n", Kind.TTY) + output(b"err\n", Kind.STDERR))
    shipper.ship(output(b"ee\n") + output(b"last") + exit_record(0))
    assert [(row.content, row.stream) for row in logged(url, DEPLOYMENT)[2:]] == [
        ("red ", "stdout"),
        ("err", "stderr"),
        ("three", "stdout"),
        ("last", "stdout"),
    ]
    shipper.socket.close()


def test_view_shows_a_line_at_once_and_a_burst_whole(server: Server, url: str) -> None:
    """Of more than 500 rows that come together it would lose some."""
    shipper = SecretShipper(server, ident(1))
    expected = ["first", *(f"line {number}" for number in range(4_000))]
    with LiveView(url, DEPLOYMENT, APP) as view:
        shipper.ship(start_record() + output(b"first\n"))
        until(lambda: view.shown == ["first"], "the line is shown")
        burst = "\n".join([*expected[1:], ""]).encode()
        for at in range(0, len(burst), 60_000):
            shipper.send(output(burst[at : at + 60_000]))
        shipper.wait_acknowledged()
        until(lambda: len(view.shown) >= len(expected), "the burst is shown")
        assert view.shown == expected
    assert [row.content for row in logged(url, DEPLOYMENT)] == expected
    shipper.socket.close()


@pytest.mark.parametrize(
    ("secret", "deployment_id", "refused"),
    [
        (SECRET, DEPLOYMENT, None),
        (SECRET, DEPLOYMENT + 1, None),
        (OTHER_SECRET, DEPLOYMENT, 4403),
        (SECRET, OTHER_DEPLOYMENT, 4403),
        (SECRET, 99, 4403),
        (SECRET, None, 4403),
        (SECRET + "x", DEPLOYMENT, 403),
        (SECRET[:-1], DEPLOYMENT, 403),
        ("", DEPLOYMENT, 401),
    ],
)
def test_secrets_are_good_for_their_app_alone(
    server: Server, url: str, secret: str, deployment_id: int | None, refused: int | None
) -> None:
    add_app(url, 9, "", 90)  # an app without a secret lets nobody in
    if refused is None:
        shipper = SecretShipper(server, ident(1), secret, deployment_id=deployment_id)
        shipper.ship(start_record())
        shipper.socket.close()
        (session,) = server.get("/api/sessions")[1]["sessions"]
        assert (session["app_id"], session["deployment_id"]) == (APP, deployment_id)
    else:
        with pytest.raises((InvalidStatus, ConnectionClosed), match=str(refused)):
            SecretShipper(server, ident(1), secret, deployment_id=deployment_id)
        assert secret == "" or secret not in server.log_path.read_text()


def test_posts_of_older_shippers_become_rows(server: Server, url: str) -> None:
    """With the app's secret, as they have it; another's is refused."""
    right, wrong = f"Bearer {SECRET}", f"Bearer {OTHER_SECRET}"
    for at in range(3):
        assert send(server, body(DEPLOYMENT, f"a{at}", f"b{at}"), authorization=right) == 204
    assert send(server, body(DEPLOYMENT, "x"), authorization=wrong) == 403
    assert wait_logged(url, 6) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_deployment_that_is_deleted_meanwhile_costs_its_rows_alone(
    server: Server, url: str
) -> None:
    """Not the records, nor other deployments' rows in the same commit."""
    doomed = SecretShipper(server, ident(1), deployment_id=DEPLOYMENT + 1)
    other = SecretShipper(server, ident(2))
    doomed.ship(start_record() + output(b"a\n"))
    query(url, 'DELETE FROM "Deployment" WHERE id = $1', DEPLOYMENT + 1)
    for number in range(5):
        doomed.send(output(b"more\n"))
        other.send(output(b"%d\n" % number))
        doomed.wait_acknowledged()
        other.wait_acknowledged()
    assert wait_logged(url, 5) == list("01234")
    assert b"more" in server.records(ident(1))
    for shipper in (doomed, other):
        shipper.socket.close()


def test_database_that_is_not_anvilops_s_is_told(tmp_path: Path, postgres: Postgres) -> None:
    with postgres.database() as plain:
        server = Server(tmp_path / "data", store_url=plain, anvilops="yes")
        with pytest.raises(AssertionError, match='no table "Log"'):
            server.start()


def test_every_line_is_a_row_once_whoever_dies_when(
    server: Server, url: str, chance: random.Random
) -> None:
    """Bursts and trickles of several pods, while the backend is killed now and then."""
    pods = 3
    sent = {pod: list[str]() for pod in range(pods)}
    done = threading.Event()

    def pod(number: int) -> None:
        choose = random.Random(chance.random())
        position, buffer = 0, start_record()
        while True:
            try:
                shipper = SecretShipper(server, ident(number + 1), hostname=f"web-{number}")
                # What was acknowledged is behind us, whatever became of the rest.
                position, buffer = shipper.offset, buffer[shipper.offset - position :]
                while buffer or not done.is_set():
                    if not buffer:
                        lines = [
                            f"{number} {len(sent[number]) + at}"
                            for at in range(choose.choice([1, 1, 3, 30, 1_500]))
                        ]
                        sent[number] += lines
                        buffer = output("\n".join([*lines, ""]).encode())
                    shipper.ship(buffer)
                    position, buffer = shipper.offset, b""
                    time.sleep(choose.uniform(0, 0.1))  # a program that prints now and then
                shipper.socket.close()
                return
            except (ConnectionClosed, InvalidStatus, OSError, TimeoutError):
                time.sleep(0.05)  # the backend is down; it comes back on the same port

    threads = [threading.Thread(target=pod, args=(number,)) for number in range(pods)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(chance.uniform(0.3, 1.2))  # anywhere in what it does
        server.kill()
        server.start()
    done.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    total = sum(map(len, sent.values()))
    until(lambda: len(logged(url, DEPLOYMENT)) >= total, "every line is a row")
    rows = logged(url, DEPLOYMENT)
    assert len(rows) == total
    for number, lines in sent.items():
        assert [row.content for row in rows if row.pod == f"web-{number}"] == lines
    assert json.dumps(query(url, "SELECT count(*) FROM ptyshipper.logged")) == f"[[{pods}]]"
