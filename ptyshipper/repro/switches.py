"""What a container has and a shell has not: each taken over unless it is switched off."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Switches:
    """Each is ``--no-…`` on the command line."""

    clean_env: bool = True
    pid_namespace: bool = True
    user: bool = True
    capabilities: bool = True
    rlimits: bool = True
    memory_limit: bool = True
    read_only_root: bool = True
    late_size: bool = True
    pre_stop: bool = True
    stop_keys: bool = True

    @classmethod
    def from_flags(cls, off: frozenset[str]) -> Switches:
        """``off``: the names of those that are switched off."""
        return cls(**{field.name: field.name not in off for field in fields(cls)})


WHAT = {
    "clean_env": "the variables of this environment, too",
    "pid_namespace": "no namespaces of its own, and the program is not process 1",
    "user": "runs as you",
    "capabilities": "root keeps all that you have",
    "rlimits": "not the limits that are named",
    "memory_limit": "no limit of memory (on the host it is RLIMIT_DATA)",
    "read_only_root": "its root can be written to",
    "late_size": "its terminal has the size of this one at once, and is not 0x0 first",
    "pre_stop": "the stop signal at once",
    "stop_keys": "^C twice is two ^C, and stops nothing",
}
"""What each ``--no-…`` does, for ``--help``."""
