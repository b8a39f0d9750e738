"""Linux capabilities by their numbers (linux/capability.h), and what a container's root keeps of them."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = tuple(
    """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
    """.split()  # noqa: SIM905  # a number is a place in this list, which a line a name would hide
)

DEFAULT = frozenset(
    """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
    SYS_CHROOT KILL AUDIT_WRITE
    """.split()  # noqa: SIM905
)
"""What Docker and containerd leave."""


def kept(add: Iterable[str], drop: Iterable[str], *, privileged: bool) -> frozenset[str]:
    """By name, without ``CAP_``. ALL is all of them; what is added wins over what is dropped with ALL."""
    if privileged:
        return frozenset(NAMES)
    added, dropped = set(add), set(drop)
    base = frozenset(NAMES) if "ALL" in added else DEFAULT
    if "ALL" in dropped:
        base = frozenset()
    return (base - dropped) | (added & frozenset(NAMES))


def numbers_without(names: frozenset[str]) -> list[int]:
    """Of those that are not named, as far as this kernel has them."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    held = {NAMES.index(name) for name in names}
    return [number for number in range(last + 1) if number not in held]


def available() -> frozenset[str]:
    """Those that we may hand on ourselves: a container of ours may have fewer than the kernel has."""
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip().partition(":\t")[::2] for line in file)
    mask = int(lines["CapBnd"], 16)
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
