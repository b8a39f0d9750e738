"""``ptyshipper token``, as a process: beside a backend or without one, and what a backend makes of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ptyshipper.backend import directory
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from tests.support.patience import PATIENCE_S, until
from tests.support.postgres import Postgres
from tests.support.server import Server, Shipper, describe, output, running_server, start_record
from tests.support.wrapping import BARE_ENVIRON, LOG_SHIPPER, PTYSHIPPER, run, shipping_environ

Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("token")) as running:
        yield running


def token(data_dir: Path, *words: str) -> Done:
    return run([*PTYSHIPPER, "token", *words], {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(data_dir)})


def secret_of(done: Done) -> str:
    """The one word on stdout."""
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1), done.stderr
    return done.stdout.decode().strip()


def listed(data_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in token(data_dir, "list", "--json").stdout.splitlines()]


def stored(data_dir: Path) -> bytes:
    """All that is on the disk."""
    return b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())


def refusal(server: Server, secret: str, **more: Any) -> int | None:
    """The status with which a shipper, or a viewer by ``path``, is refused; None: it is not."""
    try:
        server.connect(secret, **more).close()
    except InvalidStatus as error:
        return error.response.status_code
    return None


def hello(server: Server, secret: str, deployment_id: int | None) -> messages.BackendMessage | int:
    """What answers a HELLO for this deployment: a message, or the code of a close."""
    with server.connect(secret) as socket:
        socket.send(messages.hello(os.urandom(16), describe(deployment_id=deployment_id)))
        try:
            answer = socket.recv(PATIENCE_S)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006
        assert isinstance(answer, bytes)
        return messages.read_backend_message(answer)


def test_a_secret_is_printed_once_and_kept_nowhere(tmp_path: Path) -> None:
    """Without a backend, in a directory that is not there yet."""
    data_dir = tmp_path / "new"
    made = token(data_dir, "create", "--deployment", "42", "--app", "7", "--name", "shop")
    secret = secret_of(made)
    assert re.fullmatch(r"psi_[\w-]{43}", secret)
    assert secret.encode() not in made.stderr
    assert secret.encode() not in token(data_dir, "list").stdout
    assert secret.encode() not in token(data_dir, "list", "--json").stdout
    assert secret.encode() not in stored(data_dir)
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in data_dir.iterdir()} == {0o600}


def test_tokens_are_listed_with_all_but_the_secret(tmp_path: Path) -> None:
    secret_of(token(tmp_path, "create", "--deployment", "42", "--app", "7", "--name", "shop"))
    secret_of(token(tmp_path, "create", "--view", "--expires", "30d", "--name", "\x1b[2Jred"))
    assert token(tmp_path, "revoke", "1").returncode == 0
    ingest, view = listed(tmp_path)
    assert {name: ingest[name] for name in ("number", "kind", "name", "state")} == {
        "number": 1,
        "kind": "ingest",
        "name": "shop",
        "state": "revoked",
    }
    assert (ingest["deployment_id"], ingest["app_id"], ingest["expires_at"]) == (42, 7, None)
    assert (view["kind"], view["deployment_id"], view["app_id"]) == ("view", None, None)
    assert (view["state"], view["revoked_at"]) == ("good", None)
    assert view["expires_at"] > view["created_at"]
    table = token(tmp_path, "list").stdout.decode()
    assert table.splitlines()[0].split() == [
        *("NUMBER", "KIND", "DEPLOYMENT", "APP", "CREATED", "EXPIRES", "STATE", "NAME")
    ]
    assert "\x1b" not in table


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["create", "--deployment", "x"],
        ["create", "--deployment", "1", "--view"],
        ["create", "--view", "--expires", "soon"],
        ["revoke"],
        ["revoke", "-1"],
        ["revoke", "7"],
        ["forget", "1"],
        [],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(tmp_path: Path, words: list[str]) -> None:
    done = token(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


def test_a_link_needs_a_place_to_lead_to(tmp_path: Path) -> None:
    done = token(tmp_path, "link")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"--public-url" in done.stderr
    elsewhere = token(tmp_path, "link", "--public-url", "https://logs.example/")
    assert secret_of(elsewhere).startswith("https://logs.example/login?code=psl_")


def test_a_directory_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = token(tmp_path / "file", "list")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize(
    ("version", "said"), [(1, b"another 'ptyshipper serve'"), (99, b"newer ptyshipper")]
)
def test_another_version_s_database_is_left_alone_while_it_is_served(
    tmp_path: Path, version: int, said: bytes
) -> None:
    """Whoever serves it would find it changed under its hands."""
    asyncio.run(SqliteStore(tmp_path).close())
    with closing(sqlite3.connect(tmp_path / "ptyshipper.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with directory.locked(tmp_path):
        done = token(tmp_path, "list")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert said in done.stderr
    with closing(sqlite3.connect(tmp_path / "ptyshipper.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)


def test_a_running_backend_keeps_its_sessions(server: Server) -> None:
    """The command has the database open beside it, and leaves them alone."""

    def connected() -> list[tuple[int]]:
        with closing(sqlite3.connect(server.data_dir / "ptyshipper.db", timeout=10)) as db:
            return db.execute(
                "SELECT replica IS NOT NULL FROM sessions WHERE id = ?", (shipper.session_id,)
            ).fetchall()

    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    secret_of(token(server.data_dir, "create", "--deployment", "1"))
    assert connected() == [(1,)]
    shipper.ship(output(b"on"))
    shipper.socket.close()


def test_a_new_token_counts_at_once_and_for_its_deployment_alone(server: Server) -> None:
    secret = secret_of(token(server.data_dir, "create", "--deployment", "42", "--app", "7"))
    assert isinstance(hello(server, secret, 42), messages.Welcome)
    assert hello(server, secret, 43) == CloseCode.FORBIDDEN
    assert hello(server, secret, None) == CloseCode.FORBIDDEN
    newest = server.get("/api/sessions?limit=1")[1]["sessions"][0]
    assert (newest["deployment_id"], newest["app_id"]) == (42, 7)


def test_a_session_is_not_continued_with_another_deployment_s_token(server: Server) -> None:
    """Nor is it shown to another app's readers."""
    data_dir, session_id = server.data_dir, os.urandom(16)
    ours = secret_of(token(data_dir, "create", "--deployment", "50", "--app", "5"))
    theirs = secret_of(token(data_dir, "create", "--deployment", "60", "--app", "6"))
    with server.connect(ours) as socket:
        socket.send(messages.hello(session_id, describe(deployment_id=50)))
        socket.recv(PATIENCE_S)
    with server.connect(theirs) as socket:
        socket.send(messages.hello(session_id, describe(deployment_id=60)))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.FORBIDDEN
    reader = secret_of(token(data_dir, "create", "--view", "--app", "6"))
    assert server.get(f"/api/sessions/{session_id.hex()}", reader)[0] == 404
    listed_ids = [each["id"] for each in server.get("/api/sessions", reader)[1]["sessions"]]
    assert session_id.hex() not in listed_ids
    theirs_too = secret_of(token(data_dir, "create", "--view", "--app", "5"))
    assert server.get(f"/api/sessions/{session_id.hex()}", theirs_too)[0] == 200


def test_no_token_serves_another_purpose(server: Server) -> None:
    ingest = secret_of(token(server.data_dir, "create", "--deployment", "42"))
    view = secret_of(token(server.data_dir, "create", "--view"))
    assert refusal(server, view) == 403
    assert server.get("/api/sessions", ingest)[0] == 403
    assert server.get("/api/sessions", view)[0] == 200
    assert refusal(server, "") == 401


def test_a_revoked_token_s_connections_are_closed(server: Server) -> None:
    """A shipper's and a viewer's, with the code that says why; others stay."""
    data_dir, session_id = server.data_dir, os.urandom(16)
    ingest = secret_of(token(data_dir, "create", "--deployment", "42", "--name", "revoked"))
    view = secret_of(token(data_dir, "create", "--view", "--name", "revoked"))
    other = Shipper(server, os.urandom(16))
    path = f"/api/sessions/{session_id.hex()}/records?follow=1"
    with server.connect(ingest) as shipper:
        shipper.send(messages.hello(session_id, describe(deployment_id=42)))
        shipper.recv(PATIENCE_S)
        with server.connect(view, messages.VIEWER_SUBPROTOCOL, path) as viewer:
            for each in listed(data_dir):
                if each["name"] == "revoked":
                    assert token(data_dir, "revoke", str(each["number"])).returncode == 0
            for socket in (shipper, viewer):
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(PATIENCE_S)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == CloseCode.UNAUTHORIZED
    assert refusal(server, ingest) == 403
    assert server.get("/api/sessions", view)[0] == 403
    other.ship(start_record())
    other.socket.close()


def test_a_revoked_token_s_streams_break_off(server: Server) -> None:
    """Also that of a session in which nothing happens."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    secret = secret_of(token(server.data_dir, "create", "--view"))
    address = urlsplit(server.state.url)
    with closing(
        http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
    ) as connection:
        path = f"/api/sessions/{shipper.session_id.hex()}/lines/live"
        connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
        stream = connection.getresponse()
        assert stream.readline().startswith(b"retry: ")
        number = listed(server.data_dir)[-1]["number"]
        assert token(server.data_dir, "revoke", str(number)).returncode == 0
        with pytest.raises(http.client.IncompleteRead):
            stream.read()
    shipper.ship(output(b"on"))
    shipper.socket.close()


def test_the_wrapper_ships_with_a_token_of_the_store(server: Server, tmp_path: Path) -> None:
    secret = secret_of(token(server.data_dir, "create", "--deployment", "77", "--app", "9"))
    environ = shipping_environ(server, tmp_path, token=secret, deployment_id="77")
    done = run([*LOG_SHIPPER, "echo", "shipped"], environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"shipped\n", b"")

    def delivered() -> bool:
        newest = server.get("/api/sessions?limit=1")[1]["sessions"][0]
        return (newest["deployment_id"], newest["app_id"], newest["state"]) == (77, 9, "exited")

    until(delivered, "the session is there, of its app")


def test_replicas_have_their_tokens_in_common(tmp_path: Path, postgres: Postgres) -> None:
    """One lets in whom the command let in, and another's connections end with a token too."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with (
        postgres.database() as url,
        running_server(tmp_path / "one", store_url=url) as one,
        running_server(tmp_path / "two", store_url=url) as two,
    ):
        environ = {
            **BARE_ENVIRON,
            "PTYSHIPPER_STORE": url,
            "PTYSHIPPER_DATA": str(tmp_path / "token"),
        }
        command = [*PTYSHIPPER, "token"]
        secret = secret_of(run([*command, "create", "--deployment", "42"], environ))
        assert isinstance(hello(one, secret, 42), messages.Welcome)
        with two.connect(secret) as shipper:
            shipper.send(messages.hello(os.urandom(16), describe(deployment_id=42)))
            shipper.recv(PATIENCE_S)
            assert run([*command, "revoke", "1"], environ).returncode == 0
            with pytest.raises(ConnectionClosed) as closed:
                shipper.recv(PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == CloseCode.UNAUTHORIZED
        until(lambda: refusal(one, secret) == 403, "the other replica knows")


@pytest.mark.parametrize(
    "url", ["postgresql://user:s3cret@127.0.0.1:1/logs", "mysql://user:s3cret@127.0.0.1/logs"]
)
def test_a_store_that_is_not_there_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    environ = {**BARE_ENVIRON, "PTYSHIPPER_STORE": url, "PTYSHIPPER_DATA": str(tmp_path)}
    for words in (["token", "list"], ["serve", "--port", "0"]):
        done = run([*PTYSHIPPER, *words], environ)
        assert done.returncode != 0
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1), done.stderr
        assert b"s3cret" not in done.stderr


def test_no_secret_is_logged(server: Server) -> None:
    """After all of the above, in which many a token was refused."""
    said = server.log_path.read_text()
    assert "refused" in said
    assert not re.search("psi_|psv_", said)
