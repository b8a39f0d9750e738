"""``watch`` on a real terminal: what it shows, how it is left, what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ptyshipper.records import Kind, encode, resized
from tests.support.reading import command, environment, read
from tests.support.server import Server, Shipper, exit_record, output, start_record

WITHIN_S = 15.0


class Watching:
    """A watch process and the terminal that it runs on."""

    def __init__(self, server: Server, session_id: bytes, *, stdin_is_it: bool = True) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        self.process = subprocess.Popen(
            command(f"watch(D, {session_id.hex()!r})", server.data_dir),
            env=environment(),
            stdin=self.slave if stdin_is_it else subprocess.DEVNULL,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def wait_for(self, expected: bytes) -> None:
        deadline = time.monotonic() + WITHIN_S
        while expected not in self.shown:
            assert time.monotonic() < deadline, f"{expected!r} is not in {self.shown!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65_536)

    def ended(self) -> int:
        """Its status; the terminal is as it was."""
        status = self.process.wait(WITHIN_S)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65_536)
        assert termios.tcgetattr(self.slave) == self.before
        assert b"Traceback" not in self.shown
        return status


@contextmanager
def watching(server: Server, session_id: bytes, *, stdin_is_it: bool = True) -> Iterator[Watching]:
    watch = Watching(server, session_id, stdin_is_it=stdin_is_it)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()
        os.close(watch.master)
        os.close(watch.slave)


@pytest.fixture
def shipper(server: Server) -> Iterator[Shipper]:
    running = Shipper(server, os.urandom(16), tty=True)
    running.ship(start_record() + output(b"\x1b[31mpast\x1b[0m\r\n", Kind.TTY))
    yield running
    running.socket.close()


def test_shows_past_and_present_until_the_program_ends(server: Server, shipper: Shipper) -> None:
    with watching(server, shipper.session_id) as watch:
        watch.wait_for(b"\x1b[31mpast\x1b[0m\r\n")
        shipper.ship(output(b"present", Kind.TTY))
        watch.wait_for(b"present")
        shipper.ship(exit_record(3))
        watch.wait_for(b"the program exited with status 3")
        assert watch.ended() == 0


def test_newlines_are_left_to_the_program_on_a_terminal_and_made_for_a_pipe(
    server: Server, shipper: Shipper
) -> None:
    """A full-screen program means a bare newline as it is; a pipe's ones would make a staircase."""
    with watching(server, shipper.session_id) as watch:
        shipper.ship(output(b"down\nright", Kind.TTY) + output(b"a\nb", Kind.STDOUT))
        watch.wait_for(b"down\nrighta\r\nb")
        os.write(watch.master, b"q")
        assert watch.ended() == 0


def test_keys_are_quiet_and_change_nothing(server: Server, shipper: Shipper) -> None:
    """Neither shown nor sent anywhere; only q and ^C do something."""
    with watching(server, shipper.session_id) as watch:
        watch.wait_for(b"past")
        os.write(watch.master, b"abc\x1a\r")
        shipper.ship(output(b"still here", Kind.TTY))
        watch.wait_for(b"still here")
        assert b"abc" not in watch.shown
        os.write(watch.master, b"q")
        assert watch.ended() == 0


@pytest.mark.parametrize(
    ("act", "status"),
    [
        pytest.param(lambda watch: os.write(watch.master, b"q"), 0, id="q"),
        pytest.param(lambda watch: os.write(watch.master, b"\x03"), 0, id="^C"),
        pytest.param(lambda watch: watch.process.send_signal(signal.SIGTERM), 143, id="SIGTERM"),
        pytest.param(lambda watch: watch.process.send_signal(signal.SIGHUP), 129, id="SIGHUP"),
        pytest.param(lambda watch: watch.process.send_signal(signal.SIGINT), 130, id="SIGINT"),
    ],
)
def test_terminal_is_put_to_rights_on_every_way_out(
    server: Server, shipper: Shipper, act: Callable[[Watching], object], status: int
) -> None:
    """Settings, and the modes that the session had set: alternate screen, hidden cursor, colours."""
    with watching(server, shipper.session_id) as watch:
        shipper.ship(output(b"\x1b[?1049h\x1b[?25l\x1b[31mdrawn", Kind.TTY))
        watch.wait_for(b"drawn")
        act(watch)
        assert watch.ended() == status
        rest = watch.shown[watch.shown.index(b"drawn") :]
        for undone in (b"\x1b[0m", b"\x1b[?25h", b"\x1b[?1049l"):
            assert undone in rest


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_keys_leave_also_where_stdin_is_no_terminal(
    server: Server, shipper: Shipper, key: bytes
) -> None:
    """As in ``while read id; do ptyshipper watch $id; done``."""
    with watching(server, shipper.session_id, stdin_is_it=False) as watch:
        watch.wait_for(b"past")
        os.write(watch.master, key)
        assert watch.ended() == 0


def test_session_is_on_a_screen_of_its_own(server: Server, shipper: Shipper) -> None:
    """The person's is as before afterwards, whatever the session did; how it ended is told there."""
    with watching(server, shipper.session_id) as watch:
        shipper.ship(output(b"\x1b[?1049hdrawn\x1b[?1049l\x1bcshell\x1b[3J", Kind.TTY))
        shipper.ship(exit_record(0))
        assert watch.ended() == 0
    assert watch.shown.startswith(b"\x1b[?1049h")
    assert watch.shown.count(b"\x1b[?1049h") == watch.shown.count(b"\x1b[?1049l") == 1
    after = watch.shown.partition(b"\x1b[?1049l")[2]
    assert after.startswith(b"ptyshipper: the program exited with status 0; read it back: ")


def test_window_that_is_too_small_is_told(server: Server) -> None:
    """Before the start, after a change, and where it can be read afterwards."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record(132, 24) + output(b"wide", Kind.TTY))
    with watching(server, shipper.session_id) as watch:
        watch.wait_for(b"wide")
        assert b"is 132x24, this one 80x24" in watch.shown.partition(b"wide")[0]
        shipper.ship(encode(Kind.RESIZED, 2_000, resized(80, 24)) + output(b"fits", Kind.TTY))
        watch.wait_for(b"widefits")
        shipper.ship(encode(Kind.RESIZED, 3_000, resized(80, 50)) + output(b"high", Kind.TTY))
        watch.wait_for(b"is 80x50, this one 80x24: what it draws does not fit ---\r\nhigh")
        os.write(watch.master, b"q")
        assert watch.ended() == 0
        after = watch.shown.partition(b"\x1b[?1049l")[2]
        assert after.startswith(b"ptyshipper: the session's window is 80x50, this one 80x24")
    shipper.socket.close()


def test_hostile_output_does_not_make_the_terminal_answer(server: Server, shipper: Shipper) -> None:
    with watching(server, shipper.session_id) as watch:
        shipper.ship(
            output(b"\x1b]52;c;eA==\x07\x1b[6", Kind.TTY) + output(b"n\x1b[c\x05seen", Kind.TTY)
        )
        watch.wait_for(b"seen")
        assert b"\x1b]52" not in watch.shown
        assert b"\x1b[6n" not in watch.shown
        assert b"\x1b[c" not in watch.shown
        os.write(watch.master, b"q")
        assert watch.ended() == 0


def test_long_past_is_cut_to_what_a_screen_needs(server: Server) -> None:
    """Only the end of it is shown: a session of days opens at once."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(output(b"beginning", Kind.TTY))
    for _ in range(120):
        shipper.ship(output(b"x" * 60_000, Kind.TTY))
    shipper.ship(output(b"the end", Kind.TTY))
    with watching(server, shipper.session_id) as watch:
        watch.wait_for(b"the end")
        assert b"beginning" not in watch.shown
        assert 4_000_000 < watch.shown.count(b"x") < 4_500_000
        os.write(watch.master, b"q")
        assert watch.ended() == 0
    shipper.socket.close()


def test_pipe_is_refused(server: Server, shipper: Shipper) -> None:
    done = read(f"watch(D, {shipper.session_id.hex()!r})", server.data_dir)
    assert done.returncode == 2
    assert b"logs -f" in done.stderr
