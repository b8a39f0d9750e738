"""A program that prints the number of every signal it gets, in the order in which it gets them."""

import signal
import sys

ALL = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    print("ready", flush=True)
    while True:
        sys.stdout.write(f"signal {int(signal.sigwait(ALL))}\n")
        sys.stdout.flush()
