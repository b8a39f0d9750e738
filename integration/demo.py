"""``make demo``: a backend, a program wrapped on a terminal, and what arrived.

On a terminal the backend stays up until ^C, so that one can look around; elsewhere all ends by itself.
Everything that it starts ends with it, however it ends. Exit status 0 if what arrived is what was shown.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = "integration/demo_program.py"
EXPECTED_STATUS = 3
WINDOW, WINDOW_AFTER = (20, 56), (24, 72)
RESIZE_AFTER_S = 1.7
START_WITHIN_S, RUN_WITHIN_S, COMMAND_WITHIN_S = 20.0, 60.0, 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class DemoFailed(Exception):
    """Something that the demo shows did not happen."""


class Demo:
    """Its directory, its environment and what it has started."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        self.log = directory / "serve.log"
        self.on_terminal = os.isatty(1)
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("_PRIVATE_ANVILOPS")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "PTYSHIPPER_DATA": str(self.data_dir),
            "PYTHONPATH": str(REPOSITORY),
            "TERM": "xterm-256color",
        }

    def say(self, text: str = "") -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def heading(self, text: str) -> None:
        self.say(f"\n\x1b[1;7m {text} \x1b[0m" if self.on_terminal else f"\n== {text}")

    def command(self, *words: str) -> list[str]:
        """Our own command line, shown as a person types it."""
        self.say(f"$ {shlex.join(('ptyshipper', *words))}")
        return [sys.executable, "-m", "ptyshipper", *words]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        argv = self.command("serve", "--port", "0", "--data", str(self.data_dir))
        with open(self.log, "wb") as log:
            serving = subprocess.Popen(
                argv,
                cwd=REPOSITORY,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        try:
            deadline_s = time.monotonic() + START_WITHIN_S
            while not (announced := self.log.read_text()).endswith("\n"):
                if serving.poll() is not None or time.monotonic() > deadline_s:
                    raise DemoFailed(f"the backend did not start: {announced.strip() or 'no word'}")
                time.sleep(0.02)
            self.say(announced.rstrip())
            yield
        finally:
            serving.terminate()
            try:
                serving.wait(10)
            except subprocess.TimeoutExpired:
                serving.kill()
                serving.wait()

    def wrap(self) -> tuple[int, bytes]:
        """Run the program wrapped, on a pty that we resize meanwhile. Its status, and what it showed."""
        argv = self.command("run", "--", "python3", PROGRAM)
        pid, master = start_on_pty(argv, self.environ)
        try:
            shown = self._look_on(master)
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # the program goes too: its terminal hangs up
            raise
        finally:
            os.close(master)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, shown

    def _look_on(self, master: int) -> bytes:
        shown = b""
        began_s = time.monotonic()
        is_resized = False
        while True:
            now_s = time.monotonic()
            if not is_resized and now_s >= began_s + RESIZE_AFTER_S:
                set_window(master, WINDOW_AFTER)
                is_resized = True
            if now_s > began_s + RUN_WITHIN_S:
                raise DemoFailed(f"the program did not end within {RUN_WITHIN_S:.0f} s")
            if not select.select([master], [], [], 0.05)[0]:
                continue
            try:
                piece = os.read(master, 65_536)
            except OSError:
                piece = b""  # EIO: nobody has the terminal any more
            if not piece:
                break
            shown += piece
            if self.on_terminal:
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
        if not self.on_terminal:
            self.say(as_read(shown))
        return shown

    def read_back(self, *words: str, shown: bool = False) -> bytes:
        """The output of a reading command, or none where it goes straight to the terminal."""
        done = subprocess.run(
            self.command(*words),
            cwd=REPOSITORY,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=None if shown else subprocess.PIPE,
            timeout=COMMAND_WITHIN_S,
            preexec_fn=end_with_parent,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"{words[0]} ended with {done.returncode}")
        return done.stdout or b""

    def show(self, *words: str) -> None:
        if self.on_terminal:
            self.read_back(*words, shown=True)
        else:
            self.say(as_read(self.read_back(*words)))

    def run(self) -> None:
        self.heading("1. The backend")
        with self.serving():
            self.heading("2. A program, wrapped on a terminal")
            status, shown = self.wrap()
            columns, lines = WINDOW_AFTER[1], WINDOW_AFTER[0]
            self.say(
                f"exit status {status}; its window was resized to {columns} x {lines} meanwhile"
            )
            if status != EXPECTED_STATUS:
                raise DemoFailed(f"the exit status should be the program's own, {EXPECTED_STATUS}")
            self.heading("3. What arrived")
            self.show("sessions")
            self.say()
            self.show("logs", "--timestamps", "latest")
            self.say()
            stored = self.read_back("logs", "--raw", "latest")
            if not stored or not shown.startswith(stored):
                raise DemoFailed(f"{len(stored)} bytes are stored, not what was shown")
            self.say(f"{len(stored)} bytes, exactly those that the terminal was sent")
            self.say()
            events = self.read_back("export", "--format", "cast", "latest").decode().splitlines()
            self.say("\n".join(e for e in events if '"r"' in e or '"x"' in e))
            self.say("(of the asciicast, the resize and the exit status)")
            self.where()

    def where(self) -> None:
        url = self.log.read_text().split()[2].rstrip(",")
        self.heading("4. Where it is")
        self.say(f"backend   {url}")
        self.say(f"database  {self.data_dir}")
        if not self.on_terminal:
            self.say("both go away now; on a terminal they stay until ^C")
            return
        program = Path(sys.executable).parent / "ptyshipper"
        ours = str(program) if program.exists() else f"{sys.executable} -m ptyshipper"
        self.say("\nThe backend stays up until ^C. In another terminal:")
        self.say(f"  export PTYSHIPPER_DATA={self.data_dir}")
        for words in ("run -- bash", "sessions", "logs -f latest", "watch latest", "token link"):
            self.say(f"  {ours} {words}")
        while True:
            signal.pause()


def start_on_pty(argv: list[str], environ: dict[str, str]) -> tuple[int, int]:
    """Fork and exec on a new pty, as the leader of its session: as a container's first process is."""
    master, slave = os.openpty()
    set_window(master, WINDOW)
    pid = os.fork()
    if pid == 0:
        try:
            end_with_parent()
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            os.closerange(3, 256)
            os.chdir(REPOSITORY)
            os.execve(argv[0], argv, environ)
        finally:
            os._exit(127)
    os.close(slave)
    return pid, master


def set_window(fd: int, size: tuple[int, int]) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


def end_with_parent() -> None:
    """SIGTERM comes when the demo is gone, also after a ``kill -9``. Runs between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def as_read(output: bytes) -> str:
    """Without a terminal: no escapes, and of a line that was drawn again and again the last state."""
    lines = []
    for line in output.decode(errors="replace").split("\n"):
        states = [state for state in _ESCAPES.sub("", line).split("\r") if state.strip()]
        lines.append(states[-1] if states else "")
    return "\n".join(lines).rstrip("\n")


def main() -> NoReturn:
    def leave(signo: int, _: object) -> None:
        raise KeyboardInterrupt(signo)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, leave)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    directory = Path(tempfile.mkdtemp(prefix="ptyshipper-demo-"))
    status = 0
    try:
        Demo(directory).run()
    except KeyboardInterrupt as interrupt:
        # ^C is how it is left on a terminal; make would call any other status an error
        status = 0 if interrupt.args == (signal.SIGINT,) else 128 + int(interrupt.args[0])
    except (DemoFailed, subprocess.TimeoutExpired) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        status = 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
