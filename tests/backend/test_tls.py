"""TLS by the backend itself: the wrapper ships to it, local commands need no certificate, and a new
certificate comes into force without a restart."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from ptyshipper.backend.tls import Certificate
from ptyshipper.errors import BackendError
from ptyshipper.wire import messages
from ptyshipper.wire.closing import CloseCode
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.patience import PATIENCE_S, until
from tests.support.server import Server
from tests.support.tls_front import make_authority
from tests.support.wrapping import BARE_ENVIRON, LOG_SHIPPER, PTYSHIPPER, run, shipping_environ


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ca.pem``, ``server.crt`` and ``server.key``; the certificate is for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def tls_server(folder: Path, authority: Path, preamble: str = "") -> tuple[Server, str]:
    """A backend with certificate files of its own in ``folder``, and where it is."""
    for name in ("server.crt", "server.key"):
        shutil.copy(authority / name, folder)
    port = free_port()
    server = Server(
        folder / "data",
        port=str(port),
        tls_cert=str(folder / "server.crt"),
        tls_key=str(folder / "server.key"),
    )
    server.start(preamble=f"from ptyshipper.backend import guards\n{preamble}\n")
    return server, f"https://localhost:{port}"


def shown_certificate(url: str) -> str:
    """The certificate that a new connection is shown."""
    port = int(url.rpartition(":")[2])
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_S)


def test_the_wrapper_ships_over_tls_and_local_commands_work(
    tmp_path: Path, authority: Path
) -> None:
    server, url = tls_server(tmp_path, authority)
    try:
        environ = shipping_environ(
            server,
            tmp_path / "spool",
            endpoint=url + INGEST_PATH,
            ca_file=str(authority / "ca.pem"),
        )
        done = run([*LOG_SHIPPER, "echo", "over tls"], environ)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"over tls\n", b"")
        local = {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(server.data_dir)}
        done = run([*PTYSHIPPER, "logs", "latest"], local)
        assert (done.stdout, done.stderr) == (b"over tls\n", b"")
        done = run([*PTYSHIPPER, "run", "--", "echo", "locally"], local)
        assert (done.stdout, done.stderr) == (b"locally\n", b"")
        assert run([*PTYSHIPPER, "logs", "-f", "latest"], local).stdout == b"locally\n"
        link = run([*PTYSHIPPER, "token", "link"], local).stdout.decode()
        assert re.fullmatch(r"https://127\.0\.0\.1:\d+/login\?code=psl_\S+\n", link)
        assert server.log_path.read_text() == ""
    finally:
        server.stop()


def test_the_local_listener_is_the_loopback_s(tmp_path: Path, authority: Path) -> None:
    """And the public one speaks nothing but TLS."""
    server, url = tls_server(tmp_path, authority)
    try:
        assert server.state.url.startswith("http://127.0.0.1:")
        assert server.get("/healthz")[0] == 200
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)
    finally:
        server.stop()


def test_a_message_that_is_too_big_is_told_over_tls_too(tmp_path: Path, authority: Path) -> None:
    server, url = tls_server(tmp_path, authority)
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    try:
        with connect(
            url.replace("http", "ws") + INGEST_PATH,
            ssl=context,
            additional_headers={"Authorization": f"Bearer {server.state.ingest_token}"},
            subprotocols=[Subprotocol(messages.SHIPPER_SUBPROTOCOL)],
            compression=None,
            proxy=None,
        ) as shipper:
            shipper.send(os.urandom(messages.MAX_MESSAGE_BYTES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                shipper.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG
        assert server.log_path.read_text() == ""
    finally:
        server.stop()


def test_who_does_not_shake_hands_is_closed(tmp_path: Path, authority: Path) -> None:
    """Each holds a descriptor, and is no connection yet that anything else would bound."""
    server, url = tls_server(tmp_path, authority, "guards.REQUEST_WITHIN_S = 0.1")
    try:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as silent:
            assert silent.recv(1) == b""
        assert shown_certificate(url)
    finally:
        server.stop()


def test_a_new_certificate_comes_with_sighup(
    tmp_path: Path, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A bad one is told, and the one in use stays; so do connections."""
    server, url = tls_server(tmp_path, authority)
    assert server.process is not None
    try:
        first = shown_certificate(url)
        (tmp_path / "server.crt").write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "stays as it was" in server.log_path.read_text(), "the bad one is told")
        assert server.log_path.read_text().count("\n") == 1
        assert shown_certificate(url) == first
        other = tmp_path_factory.mktemp("other")
        make_authority(other)
        for name in ("server.crt", "server.key"):
            shutil.copy(other / name, tmp_path)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: shown_certificate(url) != first, "the new one is shown")
        assert shown_certificate(url).strip() in (other / "server.crt").read_text()
    finally:
        server.stop()


def test_files_that_are_no_certificate_are_told_in_one_line(
    tmp_path: Path, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With their names, and without asking the terminal for a password."""
    other = tmp_path_factory.mktemp("other")
    make_authority(other)
    (tmp_path / "nonsense.pem").write_text("nonsense")
    with open(authority / "server.key", "rb") as key:
        subprocess.run(
            [
                "openssl",
                "ec",
                "-aes128",
                "-passout",
                "pass:secret",
                "-out",
                tmp_path / "locked.key",
            ],
            stdin=key,
            check=True,
            capture_output=True,
        )
    certificate = authority / "server.crt"
    for files in (
        (tmp_path / "missing.pem", None),
        (tmp_path / "nonsense.pem", None),
        (certificate, None),
        (certificate, tmp_path / "missing.key"),
        (certificate, tmp_path / "nonsense.pem"),
        (certificate, tmp_path / "locked.key"),
        (certificate, other / "server.key"),
        (tmp_path, None),
    ):
        with pytest.raises(BackendError) as caught:
            Certificate(*files)
        message = str(caught.value)
        assert "\n" not in message
        assert all(str(path) in message for path in files if path is not None)


def test_a_certificate_and_its_key_may_be_one_file(authority: Path) -> None:
    Certificate(authority / "server.pem", None)


def test_a_bad_certificate_ends_serve_before_it_listens(tmp_path: Path) -> None:
    command = [*PTYSHIPPER, "serve", "--port", "0", "--data", str(tmp_path / "data")]
    done = run([*command, "--tls-cert", str(tmp_path / "missing.pem")], BARE_ENVIRON)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"missing.pem" in done.stderr
