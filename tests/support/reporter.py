"""A program that writes all it can find out about itself, as JSON, into the file it is given.

``python -I -S reporter.py FILE [EXIT_CODE]``: what a bare and a wrapped one write must be the same.
"""

import fcntl
import json
import os
import resource
import signal
import stat
import struct
import sys
import termios


def kind_of(fd):
    mode = os.fstat(fd).st_mode
    if os.isatty(fd):
        return "terminal"
    return {
        stat.S_IFIFO: "pipe",
        stat.S_IFREG: "file",
        stat.S_IFCHR: "device",
        stat.S_IFSOCK: "socket",
    }[stat.S_IFMT(mode)]


def terminal_facts(fd):
    attributes = termios.tcgetattr(fd)
    attributes[6] = [c if isinstance(c, int) else c.hex() for c in attributes[6]]
    try:
        foreground = os.tcgetpgrp(fd) == os.getpgrp()
    except OSError as error:
        foreground = error.errno
    return {
        "termios": attributes,
        "winsize": struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))),
        "in_foreground": foreground,
        "same_as_dev_tty": os.fstat(fd).st_rdev == dev_tty_rdev(),
    }


def dev_tty_rdev():
    """The controlling terminal's device: field 7 of /proc/self/stat (proc(5))."""
    with open("/proc/self/stat", "rb") as file:
        number = int(file.read().rpartition(b")")[2].split()[4])
    return os.makedev((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))


def facts():
    fds = {}
    for fd in range(64):
        try:
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        except OSError:
            continue
        fds[fd] = {"kind": kind_of(fd), "nonblocking": bool(flags & os.O_NONBLOCK)}
        if fd < 3 and not os.isatty(fd):
            fds[fd]["access"] = flags & os.O_ACCMODE
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open("/proc/self/environ", "rb") as file:
        environ = sorted(entry.hex() for entry in file.read().split(b"\0") if entry)
    with open("/proc/self/cmdline", "rb") as file:
        cmdline = file.read().split(b"\0")[:-1]
    limits = {
        name: resource.getrlimit(getattr(resource, name))
        for name in dir(resource)
        if name.startswith("RLIMIT_")
    }
    return {
        "status": {
            name: status[name].split()
            for name in (
                "SigBlk",
                "SigIgn",
                "SigCgt",
                "SigPnd",
                "ShdPnd",
                "Groups",
                "Umask",
                "Uid",
                "Gid",
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapBnd",
                "CapAmb",
                "NoNewPrivs",
                "Seccomp",
                "CoreDumping",
                "Threads",
            )
            if name in status
        },
        "environ": environ,
        "argv": [word.decode("latin-1") for word in cmdline],
        "cwd": os.getcwd(),
        "fds": fds,
        "terminals": {fd: terminal_facts(fd) for fd in range(3) if fd in fds and os.isatty(fd)},
        "leads_session": os.getsid(0) == os.getpid(),
        "leads_group": os.getpgrp() == os.getpid(),
        "nice": os.nice(0),
        "scheduler": os.sched_getscheduler(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "limits": limits,
        "pending_alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "oom_score_adj": open("/proc/self/oom_score_adj").read().strip(),
        "exe": os.readlink("/proc/self/exe"),
    }


if __name__ == "__main__":
    report = facts()
    with open(sys.argv[1], "w") as file:
        json.dump(report, file)
    for fd, text in ((1, b"to stdout\n"), (2, b"to stderr\n")):
        if fd in report["fds"]:
            os.write(fd, text)
    sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
