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
    "clean_env": "nothing of this environment",
    "pid_namespace": "process 1 as the manifest has it, in namespaces of its own",
    "user": "the container's user and groups",
    "capabilities": "of root only what a container has",
    "rlimits": "the resource limits that are named",
    "memory_limit": "the memory limit, on the host as RLIMIT_DATA",
    "read_only_root": "a root that can't be written to",
    "late_size": "a terminal that begins at 0x0 and is then sized",
    "pre_stop": "preStop before the stop signal",
    "stop_keys": "^C twice within a second stops the container",
}
"""For ``--help``."""
