"""A terminal of a test's own: a pty with a process on it, typed at and read like a person would."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence

from tests.support.patience import PATIENCE_S, until


def set_winsize(fd: int, rows: int, cols: int, xpixel: int = 0, ypixel: int = 0) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, xpixel, ypixel))


class Terminal:
    """A pty whose slave is a process's stdio, or part of it.

    Args:
        argv: what to run on it.
        environ: its environment.
        stdio: for each of 0, 1, 2 None for the terminal, or a descriptor.
        shell: put a session leader between, which runs ``argv`` as its foreground job, as a shell
            does; else ``argv`` leads the session, as the first process of a container does.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        stdio: tuple[int | None, int | None, int | None] = (None, None, None),
        shell: bool = False,
        rows: int = 24,
        cols: int = 80,
        pixels: Sequence[int] = (0, 0),
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.master, self.slave = os.openpty()
        set_winsize(self.master, rows, cols, *pixels)
        self.shown = bytearray()
        self._read_at = 0
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become(argv, environ, stdio, shell, cwd, pass_fds)
            except BaseException as error:
                os.write(2, repr(error).encode())
            finally:
                os._exit(99)
        self.status: int | None = None

    def _become(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        stdio: Sequence[int | None],
        shell: bool,
        cwd: str | None,
        pass_fds: Sequence[int],
    ) -> None:
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        targets = [self.slave if fd is None else fd for fd in stdio]
        kept = [os.dup(fd) for fd in targets]
        for fd, target in enumerate(kept):
            os.dup2(target, fd)
        keep = set(pass_fds)
        for fd in range(3, 256):
            if fd not in keep:
                try:
                    os.close(fd)
                except OSError:
                    pass
        for fd in keep:
            os.set_inheritable(fd, True)
        if cwd is not None:
            os.chdir(cwd)
        for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(signo, signal.SIG_DFL)
        if shell:
            self._run_as_job(argv, environ)
        os.execvpe(argv[0], list(argv), dict(environ))

    @staticmethod
    def _run_as_job(argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Be the session leader, and run ``argv`` as the foreground job; end as it ends."""
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        tty = next(fd for fd in range(3) if os.isatty(fd))
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(tty, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.execvpe(argv[0], list(argv), dict(environ))
        os.closerange(3, 256)
        _, status = os.waitpid(pid, 0)
        os._exit(
            os.waitstatus_to_exitcode(status) & 0xFF
            if os.WIFEXITED(status)
            else 128 + os.WTERMSIG(status)
        )

    def type(self, data: bytes | str) -> None:
        """Type, and go on reading meanwhile: a paste's echo has to be taken."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        os.set_blocking(self.master, False)
        deadline = time.monotonic() + PATIENCE_S
        while view:
            _, writable, _ = select.select([], [self.master], [], 0.01)
            self._take()
            if writable:
                try:
                    view = view[os.write(self.master, view[:4096]) :]
                    deadline = time.monotonic() + PATIENCE_S
                except BlockingIOError:
                    pass
            assert time.monotonic() < deadline, f"{len(view)} typed bytes are not taken"

    def _take(self) -> bool:
        """Read what is shown now; False at the end."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 65536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.shown += data
        return True

    def expect(self, text: bytes | str) -> bytes:
        """Wait until ``text`` is shown behind what was expected before; what came with it."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = self.shown.find(wanted, self._read_at)
            if found >= 0:
                start, self._read_at = self._read_at, found + len(wanted)
                return bytes(self.shown[start : self._read_at])
            left_s = deadline - time.monotonic()
            assert left_s > 0, (
                f"{wanted!r} is not shown, but {bytes(self.shown[self._read_at :])[-2000:]!r}"
            )
            select.select([self.master], [], [], left_s)
            if not self._take() and self.shown.find(wanted, self._read_at) < 0:
                raise AssertionError(
                    f"the end came before {wanted!r}: {bytes(self.shown)[-2000:]!r}"
                )

    def resize(self, rows: int, cols: int, xpixel: int = 0, ypixel: int = 0) -> None:
        set_winsize(self.master, rows, cols, xpixel, ypixel)

    def attributes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def wait(self) -> int:
        """Read to the end of the process; its exit status as a shell has it."""

        def ended() -> bool:
            self._take()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return bool(pid)

        if self.status is None:
            until(ended, "the process ends")
        self._take()
        assert self.status is not None
        return 128 - self.status if self.status < 0 else self.status

    def close(self) -> None:
        if self.status is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.master)
        os.close(self.slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def only_child(pid: int) -> int:
    """The first child of a process: what a wrapper wraps, or its monitor."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return int(file.read().split()[0])
