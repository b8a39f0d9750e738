"""``ptyshipper watch``: a session live in this terminal, to look at and not to touch."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ptyshipper.errors import UsageError
from ptyshipper.printed.losses import lost
from ptyshipper.printed.newlines import NewLines
from ptyshipper.records import OUTPUT_KINDS, Kind, Record, read_resized
from ptyshipper.view.client import Session
from ptyshipper.view.output import ends_quietly, is_person
from ptyshipper.view.screen import ENTER, LEAVE, ScreenFilter
from ptyshipper.view.source import find

REPLAY_BYTES = 4 << 20
"""How much of the past is shown first. A program that draws a screen redraws it within much less."""

_LEAVE_KEYS = frozenset(b"q\x03\x1c")  # q, ^C, ^\
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _Stopped(Exception):
    """A signal came that ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@ends_quietly
def watch(data_dir: Path, session: str) -> int:
    """Show a session in this terminal, its past first, until it ends or q or ^C is typed.

    Args:
        session: an id, its first digits (4 at least), ``latest``, or a recording's path.

    Returns:
        0, or 128 + n where signal n ended it.

    Raises:
        BackendError, RecordingError, UsageError: no backend, no such session, or stdout is no terminal.
    """
    if not is_person(sys.stdout):
        raise UsageError(
            "watch shows a session on a terminal; 'ptyshipper logs -f' writes to a pipe"
        )
    source = find(data_dir, session)
    found = source.session
    # An offset counts the records' headers too: this begins a little earlier than it says.
    offset = max(0, found["bytes"] + found["lost_bytes"] - REPLAY_BYTES)
    screen = _Screen(found, os.get_terminal_size(sys.stdout.fileno()))
    left = threading.Event()
    ended: Session | None = None
    try:
        with (
            _ended_by_signals(),
            _keyboard() as keyboard,
            _terminal_quiet(signals=keyboard is None),
            _keys_leave(keyboard, left),
        ):
            try:
                ended = _show(source.records(offset, follow=True), screen)
            finally:
                _put_to_rights()
    except _Stopped as stopped:
        if not left.is_set():
            return 128 + stopped.number
    if screen.misfit:
        print(f"ptyshipper: {screen.misfit}", file=sys.stderr)
    if ended is not None:
        print(
            f"ptyshipper: {_how_it_ended(ended)}; read it back: ptyshipper logs {shlex.quote(source.label)}"
        )
    return 0


def _show(items: Iterator[Record | Session], screen: _Screen) -> Session | None:
    """Show the records, and return the session when it has ended."""
    _write(ENTER.encode() + screen.begin())
    for item in items:
        if not isinstance(item, Record):
            return item
        _write(screen.feed(item))
    return None


class _Screen:
    """The safe part of a session's output, ready for a terminal that adds no returns of its own."""

    def __init__(self, session: Session, window: os.terminal_size) -> None:
        self._filters = {int(kind): ScreenFilter() for kind in OUTPUT_KINDS}
        # A terminal's newlines have their returns, or are meant to have none.
        self._new_lines = {int(Kind.STDOUT): NewLines(), int(Kind.STDERR): NewLines()}
        self._tty: bool = session["tty"]
        self._size: tuple[int, int] = session["cols"], session["rows"]
        self._window = window
        self.misfit = ""
        """In words, that the session's window was larger than this one."""

    def begin(self) -> bytes:
        return self._resized(*self._size)

    def feed(self, record: Record) -> bytes:
        if record.kind == Kind.GAP:
            return f"\r\n--- {lost(record)} ---\r\n".encode()
        if record.kind == Kind.RESIZED:
            size = read_resized(record.payload)
            return b"" if size == self._size else self._resized(*size)
        if record.kind not in OUTPUT_KINDS:
            return b""
        shown = self._filters[record.kind].feed(record.payload)
        lines = self._new_lines.get(record.kind)
        return shown if lines is None else lines.feed(shown)

    def _resized(self, cols: int, rows: int) -> bytes:
        """A notice, where what is drawn for that size does not fit."""
        self._size = cols, rows
        window = self._window
        if not self._tty or (cols <= window.columns and rows <= window.lines):
            self.misfit = ""
            return b""
        self.misfit = (
            f"the session's window is {cols}x{rows}, this one {window.columns}x{window.lines}:"
            " what it draws does not fit"
        )
        return f"--- {self.misfit} ---\r\n".encode()


def _how_it_ended(session: Session) -> str:
    if session["state"] == "cut":
        return "the session was cut off"
    if session["exit_signal"] is not None:
        return f"the program was ended by signal {session['exit_signal']}"
    return f"the program exited with status {session['exit_code']}"


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _put_to_rights() -> None:
    # From here to the end no signal may come between the terminal and its owner.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        _write(LEAVE.encode())
    except OSError:
        pass  # the terminal is gone


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the first ending signal into an exception, and ignore those that follow it."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in _ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in _ENDING_SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _keyboard() -> Iterator[int | None]:
    """Where the keys of the terminal that stdout is can be read, whatever stdin is."""
    fd: int | None = None
    try:
        fd = os.open(os.ttyname(sys.stdout.fileno()), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # It has no name here (a container), or another owner (su).
        if sys.stdin is not None and is_person(sys.stdin):
            fd = os.dup(sys.stdin.fileno())
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


@contextmanager
def _terminal_quiet(*, signals: bool) -> Iterator[None]:
    """Keys are not shown, and what is written is shown as it is; ``signals``: ^C is one."""
    fd = sys.stdout.fileno()
    before = termios.tcgetattr(fd)
    quiet = [*before]
    quiet[1] &= ~termios.OPOST
    quiet[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    if not signals:
        quiet[3] &= ~termios.ISIG
    try:
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        yield
    finally:
        try:
            # What was typed meanwhile was typed at the session; the shell is not to run it.
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        except termios.error:
            pass  # the terminal is gone


@contextmanager
def _keys_leave(keyboard: int | None, left: threading.Event) -> Iterator[None]:
    """A thread that waits for a key which leaves, and then interrupts the main thread."""
    if keyboard is None:
        yield
        return
    stop_reader, stop_writer = os.pipe()
    waiting = threading.Thread(target=_wait_for_key, args=(keyboard, stop_reader, left))
    # The signal is the main thread's alone, or it would not wake it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    waiting.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)
    try:
        yield
    finally:
        os.close(stop_writer)
        waiting.join()
        os.close(stop_reader)


def _wait_for_key(keyboard: int, stop_reader: int, left: threading.Event) -> None:
    while True:
        ready, _, _ = select.select([keyboard, stop_reader], [], [])
        if stop_reader in ready:
            return
        try:
            keys = os.read(keyboard, 1024)
        except OSError:
            return  # the terminal is gone: SIGHUP tells
        if not keys:
            return
        if _LEAVE_KEYS.intersection(keys):
            left.set()
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)
            return
