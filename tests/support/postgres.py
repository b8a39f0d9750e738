"""A Postgres server of the tests' own: to be killed, frozen and started again like any other part."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from tests.support.patience import PATIENCE_S, until

_USER = "ptyshipper"
_SETTINGS = {
    "fsync": "on",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "unix_socket_permissions": "0777",
    "log_min_messages": "fatal",
}


def programs() -> Path | None:
    """The directory of Debian's newest server, which is not in PATH; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


class Postgres:
    """A server on a free port and a socket in its own directory; its databases are fresh ones."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._port = taken.getsockname()[1]
        # It refuses to run as root.
        self._as = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if _is_root() else {}
        )
        if self._as:
            shutil.chown(directory, "postgres", "postgres")
        subprocess.run(
            [programs / "initdb", "-D", self.data, "-U", _USER, "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self._as,
        )  # fmt: skip

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The process whose children all others are."""
        assert self._process is not None
        return self._process.pid

    def start(self, **settings: str) -> None:
        """Start it, and wait until it takes connections."""
        options = [f"-c{name}={value}" for name, value in (_SETTINGS | settings).items()]
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-k", self.directory,
                 "-h", "127.0.0.1", "-p", str(self._port), *options],
                stdout=log, stderr=log, cwd="/", **self._as,
            )  # fmt: skip
        until(self._is_ready, "Postgres takes connections")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text()
        try:
            lines = (self.data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        # Source: src/include/utils/pidfile.h, whose last line is the state.
        return lines[:1] == [str(self._process.pid)] and lines[-1] == "ready"

    def kill(self) -> None:
        """kill -9, every process of it at once."""
        processes = self._processes()
        _send(processes, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(PATIENCE_S)
        self._process = None
        until(lambda: not any(map(_is_running, processes)), "all of Postgres is gone")

    def freeze(self) -> None:
        """Every process stops where it is; the kernel still accepts connections for them."""
        _send(self._processes(), signal.SIGSTOP)

    def thaw(self) -> None:
        _send(self._processes(), signal.SIGCONT)

    def stop(self) -> None:
        """Shut it down, whoever is connected."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _processes(self) -> list[int]:
        """Its processes, the one first that would start others."""
        return [self.pid, *_children(self.pid)]

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self._port}/{database}"

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The URL of a fresh, empty database, which is dropped in the end."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        yield self.url(name)
        # A server that was killed reads every file that is left.
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Run a statement as the server's owner."""
        query(self.url("postgres"), sql)


def query(url: str, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """``ask``, where no loop runs."""
    return asyncio.run(ask(url, sql, *parameters))


async def ask(url: str, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """The rows that a statement returns, on a connection of its own."""
    connection = await asyncpg.connect(url, timeout=PATIENCE_S)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *parameters)]
    finally:
        await connection.close()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A started server; the test is skipped where there is no Postgres."""
    found = programs()
    if found is None:
        pytest.skip("needs Postgres: apt-get install postgresql")
    # Not in pytest's own directories, which only their owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="ptyshipper-postgres-"))
    try:
        server = Postgres(directory, found)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _is_root() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("needs the user postgres")
    return True


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def _send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass  # it has ended meanwhile


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
