"""Whom the wrapper trusts; TLS on the way to a backend is tested in ``test_uplink``."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from ptyshipper.uplink import tls
from ptyshipper.uplink.tls import Trust
from tests.support.tls_front import make_authority

NOTHING = Path("/nonexistent")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder)
    return folder


@pytest.fixture(scope="module")
def hashed(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate as ``openssl rehash`` leaves it."""
    folder = tmp_path_factory.mktemp("hashed")
    shutil.copy(authority / "ca.pem", folder)
    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A bundle that trusts nobody."""
    (tmp_path / "certs").mkdir()
    return str(tmp_path / "certs")


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The image holds no certificates; a test says otherwise."""
    monkeypatch.setattr(tls, "IMAGE_STORES", (str(NOTHING),))
    return monkeypatch


def trusts(trust: Trust, authority: Path) -> bool:
    """Whether a handshake with the authority's server succeeds, at once or with the image's help."""
    try:
        shake_hands(trust.context, authority)
    except ssl.SSLCertVerificationError as error:
        if not trust.widen(error):
            return False
        try:
            shake_hands(trust.context, authority)
        except ssl.SSLCertVerificationError:
            return False
    return True


def shake_hands(context: ssl.SSLContext, authority: Path) -> None:
    """With the authority's server, both sides in memory."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(authority / "server.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            if side is client:
                return
    raise AssertionError("the handshake does not end")


def test_the_bundle_trusts_its_own(
    authority: Path, hashed: Path, empty: str, image: pytest.MonkeyPatch
) -> None:
    assert trusts(Trust(None, str(hashed)), authority)
    assert not trusts(Trust(None, empty), authority)


def test_and_a_private_authority_beside_them(
    authority: Path, empty: str, image: pytest.MonkeyPatch
) -> None:
    assert trusts(Trust(authority / "ca.pem", empty), authority)


def test_an_authority_without_key_usage_is_believed_by_every_python(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``openssl req -x509`` makes them so. From 3.13 on a context is as strict as this one."""

    def strict(**options: str) -> ssl.SSLContext:
        context = library_s(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    library_s = ssl.create_default_context
    with pytest.raises(ssl.SSLCertVerificationError, match="key usage"):
        shake_hands(strict(cafile=str(authority / "ca.pem")), authority)
    monkeypatch.setattr(ssl, "create_default_context", strict)
    assert trusts(Trust(authority / "ca.pem"), authority)


@pytest.mark.parametrize("form", ["directory", "file"])
def test_and_what_the_image_trusts(
    authority: Path, hashed: Path, empty: str, image: pytest.MonkeyPatch, form: str
) -> None:
    store = {"directory": hashed, "file": authority / "ca.pem"}[form]
    image.setattr(tls, "IMAGE_STORES", (str(NOTHING), str(store)))
    assert trusts(Trust(None, empty), authority)


def test_a_file_that_was_replaced_counts_though_the_directory_has_others(
    authority: Path, empty: str, image: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A company's own, mounted over the image's."""
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "deadbeef.0").write_bytes(b"")
    shutil.copy(authority / "ca.pem", folder / "ca-certificates.crt")
    image.setattr(tls, "IMAGE_STORES", (str(folder / "ca-certificates.crt"), str(folder)))
    assert trusts(Trust(None, empty), authority)


def test_a_store_that_is_none_is_passed_over(
    authority: Path, hashed: Path, empty: str, image: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An image may hold anything there: a pipe that nobody writes to, garbage, a gigabyte."""
    (tmp_path / "garbage").write_bytes(b"\x00" * 1000)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2**30)
    stores = [tmp_path / "garbage", tmp_path / "huge", "/dev/zero", hashed]
    image.setattr(tls, "IMAGE_STORES", tuple(map(str, stores)))
    assert trusts(Trust(None, empty), authority)


def test_the_image_is_not_read_before_a_server_needs_it(
    authority: Path, hashed: Path, image: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be in memory as long as the program runs."""
    image.setattr(tls, "IMAGE_STORES", (str(make_authority(tmp_path)),))
    trust = Trust(None, str(hashed))
    assert trusts(trust, authority)
    assert len(trust.context.get_ca_certs()) == 1


def test_only_a_certificate_that_is_not_trusted_is_a_reason_to_read_it(
    empty: str, authority: Path, image: pytest.MonkeyPatch
) -> None:
    image.setattr(tls, "IMAGE_STORES", (str(authority / "ca.pem"),))
    trust = Trust(None, empty)
    assert not trust.widen(ssl.SSLEOFError())
    assert not trust.widen(TimeoutError())
    assert trust.widen(ssl.SSLCertVerificationError())
    assert not trust.widen(ssl.SSLCertVerificationError()), "there is nothing more to believe"
    assert trusts(trust, authority)


def test_a_system_that_is_no_image_is_trusted_from_the_start() -> None:
    assert not Trust(None).widen(ssl.SSLCertVerificationError())
