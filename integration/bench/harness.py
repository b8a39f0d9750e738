"""Processes for the benchmarks: a backend, wrappers, readers of their output, and their costs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from ptyshipper import statefile
from ptyshipper.statefile import ServerState
from ptyshipper.view.client import Backend

REPOSITORY = Path(__file__).resolve().parents[2]
START_WITHIN_S = 20.0
SETTLE_S = 2.0
"""A wrapper that has just connected still loads, and frees: what is measured at rest is measured after
this, since nothing tells when it rests."""
RUN_WITHIN_S = 300.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_P = "_PRIVATE_ANVILOPS_LOG_"
_READ_BYTES = 1 << 18
_KEPT_BYTES = 512
_MANY = 500
_Found = TypeVar("_Found")

LOG_SHIPPER = (
    sys.executable,
    "-c",
    "from ptyshipper.cli import main_log_shipper; main_log_shipper()",
)
"""The container's entry point, as its console script starts it."""


class Run(NamedTuple):
    """A process that has ended.

    ``seconds`` run from before the fork until the last byte was read. ``cpu_s`` is what the process
    itself used, all its threads, none of its children. ``output`` is the beginning of what was read.
    ``exec_ns`` is the monotonic time at which the forked child called exec.
    """

    seconds: float
    output_bytes: int
    cpu_s: float
    status: int
    output: bytes
    exec_ns: int


class Serving:
    """A ``ptyshipper serve`` of its own, started when it is entered.

    Args:
        options: further words of its command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.data_dir = directory / "data"
        self._log_path = directory / "server.log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._state: ServerState | None = None

    def __enter__(self) -> Self:
        argv = ["-m", "ptyshipper", "serve", "--port", "0", "--data", str(self.data_dir)]
        with open(self._log_path, "wb") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, *argv, *self._options],
                cwd=REPOSITORY,
                env=plain_environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def started() -> ServerState | None:
            if process.poll() is not None:
                raise SystemExit(self._log_path.read_text())
            return statefile.read(self.data_dir)

        self._state = wait_for(started)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def state(self) -> ServerState:
        assert self._state is not None, "it was entered"
        return self._state

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.state.url)
        return str(url.hostname), int(url.port or 0)

    @property
    def pid(self) -> int:
        return self.state.pid


class Bench:
    """The bench's directory, its backend (started when first asked for) and its processes."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.directory = Path(tempfile.mkdtemp(prefix="ptyshipper-bench-"))
        self._serving: Serving | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._serving is not None:
            self._serving.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)

    def serving(self, *options: str) -> Serving:
        """A backend with nothing stored yet."""
        return Serving(Path(tempfile.mkdtemp(prefix="serving-", dir=self.directory)), *options)

    def rounds(self, wanted: int) -> int:
        """How often to repeat; fewer times when it must be quick."""
        return min(wanted, 3) if self.quick else wanted

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def state(self) -> ServerState:
        """The backend that the wrappers ship to, running."""
        if self._serving is None:
            self._serving = Serving(self.directory).__enter__()
        return self._serving.state

    @property
    def backend(self) -> Backend:
        return Backend(self.data_dir)

    def environ(self, *, shipping: bool, to: ServerState | None = None) -> dict[str, str]:
        """The environment of a wrapper in a container, with a spool of its own that nothing overflows; it
        ships ``to`` that backend, else to the bench's own."""
        self._runs += 1
        environ = plain_environ()
        environ[_P + "SPOOL_DIR"] = str(self.directory / f"spool-{self._runs}")
        environ[_P + "SPOOL_MAX_BYTES"] = "4G"
        environ[_P + "FLUSH_TIMEOUT_S"] = "60"
        if shipping:
            state = to or self.state
            environ[_P + "ENDPOINT"] = state.url + "/api/logs/ingest"
            environ[_P + "TOKEN"] = state.ingest_token
        return environ

    def forget_spools(self) -> None:
        for spool in self.directory.glob("spool-*"):
            shutil.rmtree(spool, ignore_errors=True)

    def text_file(self, size_bytes: int) -> Path:
        """A file of 80-column lines, in memory where the system has a file system there."""
        name = f"text-{size_bytes}"
        path = self.directory / name
        if not path.exists():
            line = b"%09d the quick brown fox jumps over the lazy dog, and again, and once more.\n"
            block = b"".join(line % number for number in range(10_000))
            with open(path, "wb") as file:
                left = size_bytes
                while left > 0:
                    left -= file.write(block[:left])
        path.read_bytes()  # into the page cache
        return path

    def newest_session(self) -> dict[str, Any]:
        """The session that began last, as the backend lists it."""
        return self.backend.sessions(1)[0]

    def count_sessions(self) -> int:
        _ = self.state
        return len(self.backend.sessions(_MANY))

    def wait_session(self, number: int) -> dict[str, Any]:
        """The newest session, once there are ``number`` of them."""

        def came() -> dict[str, Any] | None:
            sessions = self.backend.sessions(_MANY)
            return sessions[0] if len(sessions) >= number else None

        return wait_for(came)


def plain_environ() -> dict[str, str]:
    """This environment without what would change how Python, or the wrapper, starts."""
    dropped = ("PYTHON", _P, "PTYSHIPPER")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environ["PYTHONPATH"] = str(REPOSITORY)
    environ["TERM"] = "xterm-256color"
    return environ


def wait_for(look: Callable[[], _Found | None], within_s: float = START_WITHIN_S) -> _Found:
    """What ``look`` finds, asked again and again."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline_s:
            raise SystemExit(f"waited {within_s:.0f} s in vain for {look.__qualname__}")
        time.sleep(0.02)


def run_on_pty(argv: Sequence[str], environ: dict[str, str]) -> Run:
    """Run ``argv`` as the leader of a session on a pty of 80 x 24, and read all that it shows."""
    return _run(argv, environ, *_open_pty())


def run_on_pipe(argv: Sequence[str], environ: dict[str, str]) -> Run:
    """Run ``argv`` with its stdout on a pipe, and read all that comes."""
    return _run(argv, environ, *os.pipe())


def _open_pty() -> tuple[int, int]:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return master, slave


def _run(argv: Sequence[str], environ: dict[str, str], reading: int, given: int) -> Run:
    on_pty = os.isatty(given)
    started_s = time.perf_counter()
    exec_reading, exec_told = os.pipe()
    pid = _start(argv, environ, given, on_pty=on_pty, exec_told=exec_told)
    os.close(given)
    os.close(exec_told)
    buffer = bytearray(_READ_BYTES)
    count, last_s, output = 0, started_s, b""
    with _killed_after(pid, RUN_WITHIN_S):
        while size := _read_into(reading, buffer):
            last_s = time.perf_counter()
            if count < _KEPT_BYTES:
                output += bytes(buffer[: min(size, _KEPT_BYTES)])
            count += size
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        cpu_s = cpu_seconds(pid)
    os.close(reading)
    exec_ns = int.from_bytes(os.read(exec_reading, 8), "little")
    os.close(exec_reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Run(last_s - started_s, count, cpu_s, status, output, exec_ns)


def _start(
    argv: Sequence[str],
    environ: dict[str, str],
    given: int,
    *,
    on_pty: bool,
    exec_told: int | None = None,
) -> int:
    """Fork and exec with ``given`` as stdout, on a pty as stdin and stderr too.

    ``exec_told`` is a pipe to which the child writes when it execs (``Run.exec_ns``).
    """
    path = shutil.which(argv[0]) or argv[0]
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        if on_pty:
            fcntl.ioctl(given, termios.TIOCSCTTY, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(given if on_pty or fd == 1 else nothing, fd)
        kept = given if exec_told is None else exec_told
        os.closerange(3, kept)
        os.closerange(kept + 1, 256)
        os.chdir(REPOSITORY)
        if exec_told is not None:
            os.write(exec_told, time.monotonic_ns().to_bytes(8, "little"))
        os.execve(path, list(argv), environ)
    finally:
        os._exit(127)


def _read_into(fd: int, buffer: bytearray) -> int:
    """A pty whose last writer is gone says EIO, a pipe nothing."""
    try:
        return os.readv(fd, [buffer])
    except OSError:
        return 0


@contextlib.contextmanager
def _killed_after(pid: int, seconds: float) -> Iterator[None]:
    """A benchmark never hangs: what it runs is killed after a while."""

    def kill(*_: object) -> None:
        os.kill(pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def running(argv: Sequence[str], environ: dict[str, str], *, on_pty: bool = False) -> Iterator[int]:
    """A process that runs meanwhile, its output read and thrown away; its pid."""
    reading, given = _open_pty() if on_pty else os.pipe()
    pid = _start(argv, environ, given, on_pty=on_pty)
    os.close(given)
    drain = subprocess.Popen(
        ["cat"], stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + 15
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline_s:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        os.close(reading)
        drain.kill()
        drain.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its threads, in steps of 10 ms; also of a zombie."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def precise_cpu_seconds(pid: int) -> float:
    """The same of a process that runs and ends no thread meanwhile, from the scheduler's count."""
    spent_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent_ns += int((task / "schedstat").read_text().split()[0])
        except OSError:
            return cpu_seconds(pid)  # a kernel without the count
    return spent_ns / 1e9


def descendants(pid: int) -> list[int]:
    """Children, theirs, and so on."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if int(_stat(int(entry.name))[1]) == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
        except (OSError, IndexError):
            pass  # it ended while we looked
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
