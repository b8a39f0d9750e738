"""The bundle's ``ssl`` does what the library's does. ``integration/test_bundle.py`` has it in use."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ptyshipper.bundle.standins import ssl as standin
from tests.support.patience import PATIENCE_S
from tests.support.tls_front import make_authority

SETTINGS = (
    "check_hostname",
    "maximum_version",
    "minimum_version",
    "options",
    "post_handshake_auth",
    "protocol",
    "security_level",
    "verify_flags",
    "verify_mode",
)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_context_is_set_up_as_the_librarys(tmp_path: Path, name: str) -> None:
    own = standin.create_default_context(capath=str(tmp_path))
    library = ssl.create_default_context(capath=str(tmp_path))
    assert getattr(own, name) == getattr(library, name)


def test_it_offers_the_same_ciphers(tmp_path: Path) -> None:
    own = standin.create_default_context(capath=str(tmp_path))
    assert own.get_ciphers() == ssl.create_default_context(capath=str(tmp_path)).get_ciphers()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, by its hash and by name, and what a server for localhost needs."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)
    return folder


Ends = tuple[standin.SSLSocket, Future[ssl.SSLSocket]]


@pytest.fixture
def ends(authority: Path, request: pytest.FixtureRequest) -> Iterator[Ends]:
    """A client's end that asks for the parameter, localhost where there is none; and its server's."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    theirs.settimeout(PATIENCE_S)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(authority / "server.pem")
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    context = standin.create_default_context(capath=str(authority))
    context.set_alpn_protocols(["http/1.1"])
    client = context.wrap_socket(
        ours,
        server_hostname=getattr(request, "param", b"localhost"),
        do_handshake_on_connect=False,
    )
    with closing(client), closing(theirs), ThreadPoolExecutor(1) as pool:
        server = pool.submit(server_context.wrap_socket, theirs, server_side=True)
        yield client, server
        client.close()  # a server that still shakes hands would hold up the pool
        if server.exception() is None:
            server.result().close()


def test_bytes_go_both_ways(ends: Ends) -> None:
    client, handshake = ends
    client.do_handshake()
    server = handshake.result(PATIENCE_S)
    assert server.selected_alpn_protocol() == "http/1.1"
    assert client.send(memoryview(b"to the server")) == 13
    assert server.recv(100) == b"to the server"
    server.sendall(b"and back")
    assert client.recv(100) == b"and back"


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_an_end_is_an_end(ends: Ends, says_goodbye: bool) -> None:
    """Also without the alert that TLS has for it: servers that are killed send none."""
    client, handshake = ends
    client.do_handshake()
    server = handshake.result(PATIENCE_S)
    if says_goodbye:
        server.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):  # its half is sent, ours is not awaited
            server.unwrap()
    else:
        server.close()
    assert client.recv(100) == b""


@pytest.mark.parametrize("ends", [b"elsewhere"], indirect=True)
def test_a_certificate_for_another_name_is_refused(ends: Ends) -> None:
    client, _ = ends
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        client.do_handshake()


def test_its_errors_are_the_librarys() -> None:
    """Both have them from the module in C, so ``uplink.tls`` knows them by the same names."""
    for name in standin.__all__:
        if name.endswith("Error"):
            assert getattr(standin, name) is getattr(ssl, name)
