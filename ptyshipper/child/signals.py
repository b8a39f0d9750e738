"""Signals: held from the first instruction on, taken one by one, each treated as its row says.

Every catchable signal is blocked in every thread and taken by one thread in sigwaitinfo(2), which
passes it on through a queue and an eventfd that the pump polls. The obvious ways are wrong:

- A handler and ``set_wakeup_fd`` tell the number alone, not who sent it, and of several pending
  signals the handlers run in the reverse of the order in which the kernel would deliver them.
- A signal that is not blocked is lost to PID 1 where its disposition is the default (the kernel
  drops it: kernel/signal.c, sig_task_ignored), and kills any other process. A blocked one stays
  pending, also across the fork, so nothing is lost before the program runs.
"""

from __future__ import annotations

import _thread
import os

from ptyshipper.light import TYPE_CHECKING, Fields, signal

if TYPE_CHECKING:
    from collections.abc import Iterator

SI_USER_LIMIT = 0
"""si_code is at most 0 where a process sent the signal, above where the kernel did (sigaction(2))."""

_POLL_MS = 50

ALL = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class Policy:
    """What is done when a signal arrives."""

    FORWARD = "sent on to the program, whoever sent it"
    TYPED = "sent on; where the kernel sent it for a key and the program got its own, not again"
    HANGUP = "sent on; where the terminal outside hung up, the program's is hung up instead"
    STOP = "sent on where a process sent it; the terminal's own hand-off signals are not"
    CONTINUE = "wakes the program where it was stopped with us; else sent on"
    WINDOW = "the terminal's new size is set, which signals the program; without a terminal sent on"
    CHILD = "never sent on: it means ours"


POLICIES: dict[int, str] = {
    signal.SIGINT: Policy.TYPED,
    signal.SIGQUIT: Policy.TYPED,
    signal.SIGHUP: Policy.HANGUP,
    signal.SIGTSTP: Policy.STOP,
    signal.SIGTTIN: Policy.STOP,
    signal.SIGTTOU: Policy.STOP,
    signal.SIGCONT: Policy.CONTINUE,
    signal.SIGWINCH: Policy.WINDOW,
    signal.SIGCHLD: Policy.CHILD,
}
"""Signals that are not simply forwarded; ``policy`` answers for all."""


def policy(signo: int) -> str:
    return POLICIES.get(signo, Policy.FORWARD)


class Arrived(Fields):
    """A signal that was taken: its number, and whether the kernel itself sent it."""

    __slots__ = ("by_kernel", "signo")

    def __init__(self, signo: int, by_kernel: bool) -> None:
        self.signo = signo
        self.by_kernel = by_kernel


class Pristine(Fields):
    """What the program must find: the mask, and the signals that are ignored, as they were."""

    __slots__ = ("ignored", "mask")

    def __init__(self, mask: frozenset[int], ignored: frozenset[int]) -> None:
        self.mask = mask
        self.ignored = ignored

    def restore(self) -> None:
        """Put everything back, in the child before its exec.

        SIGPIPE and SIGXFSZ go to their defaults: CPython ignores both before its first line runs,
        and what they were can't be known from in here. SIGINT too, else a ^C between here and exec
        would land in Python's handler and be lost with it.
        """
        for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signo, signal.SIG_IGN if signo in self.ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def seize() -> Pristine:
    """Block every catchable signal and say how things were. Comes before anything else.

    An ignored SIGCHLD is set to its default: with it, the kernel would reap the program itself and
    take its exit status along (wait(2), NOTES).
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    ours = {signal.SIGPIPE, signal.SIGXFSZ}
    ignored = {s for s in ALL - ours if signal.getsignal(s) == signal.SIG_IGN}
    if signal.SIGCHLD in ignored:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return Pristine(frozenset(map(int, mask)), frozenset(map(int, ignored)))


def release(pristine: Pristine) -> None:
    """Undo ``seize`` for a command that wraps nothing."""
    signal.pthread_sigmask(signal.SIG_SETMASK, pristine.mask)


class SignalQueue:
    """Signals in the order in which the kernel hands them out.

    ``fd`` is readable while signals wait. One thread fills the queue, the pump empties it; deque's
    append and popleft are atomic, so nothing else is shared. Where no thread can be had (a container's
    limit of processes), ``poll_ms`` says how often to ask ``take``, which then looks by itself.
    """

    def __init__(self) -> None:
        from collections import deque  # 2 ms; made when the program runs already

        self._arrived: deque[Arrived] = deque()
        self._own_pid = 0
        self.poll_ms: int | None = None
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self) -> None:
        """Begin to take signals. After the fork: a process that has threads must not fork."""
        self._own_pid = os.getpid()
        try:
            _thread.start_new_thread(self._take_all, ())
        except RuntimeError:
            self.poll_ms = _POLL_MS

    def _take_all(self) -> None:
        while True:
            self._put(signal.sigwaitinfo(ALL))
            os.eventfd_write(self.fd, 1)

    def _put(self, info: signal.struct_siginfo) -> None:
        by_kernel = info.si_code > SI_USER_LIMIT
        if by_kernel or info.si_pid != self._own_pid:  # a stop of our own group counts us in
            self._arrived.append(Arrived(info.si_signo, by_kernel))

    def take(self) -> Iterator[Arrived]:
        """Everything that has arrived, oldest first."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass
        while self.poll_ms is not None and (info := signal.sigtimedwait(ALL, 0)):
            self._put(info)
        while self._arrived:
            yield self._arrived.popleft()
