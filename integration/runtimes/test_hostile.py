"""Images that would break a program that looks at them: the wrapper does not look."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.runtimes.conftest import Images
from integration.runtimes.container import Container, User
from integration.runtimes.images import Image, replace
from integration.runtimes.pod import LOG_SHIPPER, VOLUME, Pod
from integration.runtimes.strace import Trace, traced
from ptyshipper.records import Kind
from ptyshipper.variables import PRIVATE_PREFIX
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.fake_backend import FakeBackend

HOSTILE_ENVIRON = [
    b"PATH=/hostile:/usr/bin:/bin",
    # The loader and the C library.
    b"LD_PRELOAD=/no/such/preload.so", b"LD_LIBRARY_PATH=/hostile", b"LD_AUDIT=/no/such/audit.so",
    b"LD_DEBUG=all", b"LD_SHOW_AUXV=1", b"LD_TRACE_LOADED_OBJECTS=1", b"LD_BIND_NOW=1",
    b"LD_ORIGIN_PATH=/hostile", b"LD_PROFILE=libc.so.6", b"LD_HWCAP_MASK=0",
    b"GLIBC_TUNABLES=glibc.malloc.check=3:glibc.malloc.perturb=165:glibc.rtld.nns=1",
    b"MALLOC_CHECK_=3", b"MALLOC_PERTURB_=165", b"MALLOC_ARENA_MAX=1", b"MALLOC_TRACE=/trace",
    b"TZ=:/hostile/tz", b"TZDIR=/hostile", b"LOCPATH=/hostile", b"LC_ALL=tlh_KL.KOI8-R",
    b"LANGUAGE=tlh", b"NLSPATH=/hostile/%N", b"GCONV_PATH=/hostile", b"HOSTALIASES=/hostile/hosts",
    b"RES_OPTIONS=timeout:30 attempts:5", b"LOCALDOMAIN=hostile.example", b"TMPDIR=/hostile",
    # Python and PyInstaller.
    b"PYTHONHOME=/hostile", b"PYTHONPATH=/hostile", b"PYTHONSTARTUP=/hostile/startup.py",
    b"PYTHONHASHSEED=none", b"PYTHONMALLOC=none", b"PYTHONINSPECT=1", b"PYTHONVERBOSE=3",
    b"PYTHONWARNINGS=error", b"PYTHONOPTIMIZE=2", b"PYTHONDEVMODE=1", b"PYTHONIOENCODING=none",
    b"PYTHONUTF8=7", b"PYTHONPLATLIBDIR=/hostile", b"PYTHONEXECUTABLE=/hostile/python",
    b"_PYI_ARCHIVE_FILE=/hostile/archive", b"_PYI_PARENT_PROCESS_LEVEL=1", b"_MEIPASS2=/hostile",
    b"_PYI_APPLICATION_HOME_DIR=/hostile", b"_PYI_SPLASH_IPC=1", b"PYINSTALLER_RESET_ENVIRONMENT=1",
    # OpenSSL, and what a client of HTTP may obey.
    b"OPENSSL_CONF=/hostile/openssl.cnf", b"OPENSSL_MODULES=/hostile", b"OPENSSL_ENGINES=/hostile",
    b"SSL_CERT_FILE=/no/such/ca.pem", b"SSL_CERT_DIR=/no/such", b"SSLKEYLOGFILE=/keys",
    b"http_proxy=http://127.0.0.1:9", b"https_proxy=http://127.0.0.1:9", b"ALL_PROXY=socks5://x",
    # Ours.
    b"PTYSHIPPER_LAUNCH=9 9 ffff log-shipper /hostile", b"PTYSHIPPER_DATA=/hostile",
    # Entries that a mapping of names to values can't hold.
    b"TWICE=first", b"TWICE=second", b"TWICE=first", b"NOVALUE", b"=nameless", b"=", b"",
    b"=C:=C:\\windows", b"EMPTY=", b"BAD=\xff\xfe\x80 caf\xe9", b"\xff\xfe=bad", b"NEWLINE=a\nb\r\n",
    b"_PRIVATE_ANVILOP=not ours", b"_=/bin/sh", b"LONG=" + b"x" * 100_000,
]  # fmt: skip


def entries_for(pod: Pod, **settings: str) -> list[bytes]:
    """The private variables are among the image's, some of them odd; the first of two counts."""
    private = [entry.encode() for entry in pod.settings(**settings)]
    middle = len(HOSTILE_ENVIRON) // 2
    odd = [PRIVATE_PREFIX.encode() + rest for rest in (b"", b"=x", b"_NOVALUE", b"_BAD=\xff")]
    again = [PRIVATE_PREFIX.encode() + b"_LOG_TOKEN=another", *odd]
    return [*HOSTILE_ENVIRON[:middle], *private, *HOSTILE_ENVIRON[middle:], *again]


def spoil(root: Path) -> None:
    """Files that the bundled libraries would look at, had nobody told them not to."""
    nonsense = b"\x7fELF nonsense\n"
    replace(root, "etc/ld.so.preload", "/no/such/library.so\n")
    replace(root, "etc/ld.so.cache", nonsense)
    replace(root, "etc/ld.so.conf", "/hostile\n")
    replace(root, "etc/nsswitch.conf", "hosts: hostile [!UNAVAIL=return]\npasswd: hostile\n")
    replace(root, "etc/host.conf", "nonsense\nmulti nonsense\ntrim nonsense:\n")
    replace(root, "etc/gai.conf", "nonsense\n")
    replace(root, "etc/localtime", nonsense)
    replace(root, "etc/passwd", nonsense)
    for name in ("etc/ssl/openssl.cnf", "usr/lib/ssl/openssl.cnf", "hostile/openssl.cnf"):
        replace(root, name, "openssl_conf = hostile\n[hostile]\nproviders = no_such_section\n")
    for name in ("libc.so.6", "libz.so.1", "libnss_hostile.so.2", "libpython3.so", "tz"):
        replace(root, f"hostile/{name}", nonsense)
    for name in ("sitecustomize.py", "startup.py", "os.py", "encodings/__init__.py"):
        replace(root, f"hostile/{name}", "raise SystemExit('hostile')\n")


def run_both(pod: Pod, root: Path, entries: list[bytes], *words: str, tty: bool) -> list[Container]:
    """Bare and wrapped, each with just that environment, which no runtime can be asked for."""
    ran = []
    for wrapper in ([], [LOG_SHIPPER]):
        own = pod.root(root)
        replace(own, "environ", b"".join(entry + b"\0" for entry in entries))
        argv = ["/enter", "-e", "/environ", *wrapper, "/probe", *words]
        with pod.bare(*argv, root=own, tty=tty, read_only=True, user=User.UNPRIVILEGED) as c:
            c.wait()
            ran.append(c)
    return ran


@pytest.fixture
def hostile_root(pod: Pod, images: Images) -> Path:
    root = pod.root(images[Image.BULLSEYE])
    spoil(root)
    return root


@pytest.mark.parametrize(
    "tty", [True, pytest.param(False, marks=pytest.mark.runtimes)], ids=["tty", "pipes"]
)
def test_the_environment_arrives_as_it_is_and_touches_nothing_of_ours(
    pod: Pod, hostile_root: Path, tty: bool
) -> None:
    """Byte for byte and in order, less what is private. The backend is found by its name."""
    url = pod.server.state.url.replace("127.0.0.1", "backend.svc")
    entries = entries_for(pod, endpoint=url + INGEST_PATH)
    bare, wrapped = run_both(pod, hostile_root, entries, "report", "-", "exit", "5", tty=tty)
    expected, found = (
        [bytes.fromhex(e) for e in json.loads(c.out)["environ"]] for c in (bare, wrapped)
    )
    assert expected == entries
    assert found == [e for e in entries if not e.startswith(PRIVATE_PREFIX.encode())]
    assert wrapped.err == bare.err == b""
    assert wrapped.wait() == bare.wait() == 5
    pod.check_stored(wrapped, 5)


@pytest.mark.runtimes
@pytest.mark.parametrize("tty", [True, False], ids=["tty", "pipes"])
def test_a_preloaded_library_that_is_missing_is_the_images_own_trouble(
    pod: Pod, images: Images, tty: bool
) -> None:
    """Its own programs say so and run, bare as wrapped."""
    root = pod.root(images[Image.BULLSEYE])
    replace(root, "etc/ld.so.preload", "/no/such/library.so\n")
    ended = []
    for run in (pod.bare, pod.wrapped):
        with run(*Image.BULLSEYE.own_program, tty=tty, root=pod.root(root)) as c:
            ended.append((c.wait(), c.out, c.err))
    assert ended[1] == ended[0]
    assert ended[0][0] == 23
    assert b"/no/such/library.so" in b"".join(ended[0][1:])
    pod.check_stored(c, 23)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that signed itself, for 127.0.0.1 and backend.svc; its key is beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl(1)")
    path = tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", tmp_path / "key.pem", "-out", path, "-subj", "/CN=backend.svc",
         "-addext", "subjectAltName=DNS:backend.svc,IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return path


@pytest.fixture
def tls_backend(certificate: Path) -> Iterator[FakeBackend]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with FakeBackend(tls=context) as backend:
        yield backend


def shipped_to(backend: FakeBackend) -> bytes:
    """The output of its one session, which has ended."""
    (session,) = backend.sessions.values()
    assert session.records[-1].kind == Kind.EXITED
    return session.output()


def test_tls_goes_by_the_certificates_it_was_given(
    pod: Pod, hostile_root: Path, certificate: Path, tls_backend: FakeBackend
) -> None:
    """A private authority's, by the setting; OpenSSL's variables and files in the image do nothing."""
    url = tls_backend.url.replace("127.0.0.1", "backend.svc")
    replace(hostile_root, "private-ca.pem", certificate.read_bytes())
    entries = entries_for(pod, endpoint=url, ca_file="/private-ca.pem")
    bare, wrapped = run_both(pod, hostile_root, entries, "say", "over TLS", "err", "x", tty=False)
    assert (wrapped.wait(), wrapped.out, wrapped.err) == (bare.wait(), bare.out, bare.err)
    assert shipped_to(tls_backend) == b"over TLS\nx\n"


@pytest.mark.runtimes
def test_tls_trusts_what_the_image_trusts(
    pod: Pod, images: Images, certificate: Path, tls_backend: FakeBackend
) -> None:
    """An authority that was put into the image's own store, where Debian and Alpine have it."""
    root = pod.root(images[Image.BULLSEYE])
    replace(root, "etc/ssl/certs/ca-certificates.crt", certificate.read_bytes())
    with pod.wrapped("/probe", "say", "hi", root=root, settings={"endpoint": tls_backend.url}) as c:
        assert (c.wait(), c.out, c.err) == (0, b"hi\n", b"")
    assert shipped_to(tls_backend) == b"hi\n"


@pytest.mark.runtimes
@pytest.mark.parametrize("image", [Image.EMPTY, Image.BULLSEYE], ids=lambda image: image.value)
def test_tls_trusts_nobody_else(
    pod: Pod, images: Images, tls_backend: FakeBackend, image: Image
) -> None:
    """One warning, and the program's status: not being able to verify is not a reason to fail."""
    root = pod.root(images[image])
    with pod.wrapped("/probe", "say", "hi", root=root, settings={"endpoint": tls_backend.url}) as c:
        assert (c.wait(), c.out) == (0, b"hi\n")
        assert re.fullmatch(rb"ptyshipper: [^\n]*certificate can't be verified[^\n]*\n", c.err)
    assert tls_backend.sessions == {}


NAME_SERVICE = ("/etc/hosts", "/etc/resolv.conf")
AUTHORITIES = ("/etc/ssl/", "/etc/pki/", "/usr/lib/ssl/cert")


@pytest.mark.runtimes
@pytest.mark.parametrize("tty", [True, False], ids=["tty", "pipes"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_no_file_of_the_image_is_opened_and_none_written_but_in_the_volume(
    pod: Pod,
    hostile_root: Path,
    certificate: Path,
    tls_backend: FakeBackend,
    tmp_path: Path,
    tty: bool,
    tls: bool,
) -> None:
    """But for what names and addresses are, which kubelet puts there, and for TLS the authorities."""
    replace(hostile_root, "etc/ssl/certs/ca-certificates.crt", certificate.read_bytes())
    url = tls_backend.url if tls else pod.server.state.url + INGEST_PATH
    settings = {"endpoint": url.replace("127.0.0.1", "backend.svc")}
    output = tmp_path / "strace"
    with pod.wrapped(
        "/probe", "say", "hi", root=hostile_root, tty=tty, settings=settings, start=False
    ) as c:
        with traced(c, output, *Trace.options):
            c.start()
            assert c.wait() == 0
        assert (c.lines(), c.err) == (["hi"], b"")
    if tls:
        assert shipped_to(tls_backend) == c.out
    else:
        pod.check_stored(c, 0)
    trace = Trace(output.read_text())
    outside = trace.outside(*NAME_SERVICE, *(AUTHORITIES if tls else ()))
    assert [call for call in outside if call.opens] == []
    assert [call for call in trace.outside() if call.changes] == []
    spooled = [call for call in trace.calls if call.path.startswith(VOLUME) and call.changes]
    assert spooled, "the spool is in the volume"
