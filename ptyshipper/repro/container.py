"""What is known of a container: whatever described it, and wherever it is to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

DEFAULT_GRACE_PERIOD_S = 30.0
"""Of Kubernetes; Docker's is 10."""

DEFAULT_STOP_SIGNAL = "SIGTERM"


class Missing(NamedTuple):
    """A variable whose value the file does not hold, and where it would come from."""

    name: str
    source: str


class Note(NamedTuple):
    """Something of the file that is not taken over: the field, and why or with what effect."""

    field: str
    reason: str


class PreStop(NamedTuple):
    """What happens before the stop signal: a command in the container, or a sleep."""

    command: tuple[str, ...] = ()
    sleep_s: float = 0.0


class Limit(NamedTuple):
    """A resource limit as setrlimit(2) has it; -1 is no limit."""

    soft: int
    hard: int


@dataclass(frozen=True)
class Container:
    """One container. What is None was not said, and then is the image's or the runtime's to say.

    Attributes:
        name: of the container, or of the compose service.
        source: what it was read from, for a person: ``Deployment shop``.
        command: in place of the image's ENTRYPOINT.
        args: in place of its CMD.
        env: in the order of the file, expanded, each name once.
        missing: variables without a value.
        user, group: numbers, or names where the image's /etc/passwd says which number that is.
        groups: supplementary ones.
        umask: as umask(2) has it.
        rlimits: by name without ``RLIMIT_``, in capitals: ``NOFILE``.
        memory_bytes, cpus: limits of the whole container.
        scratch: directories that begin empty and can be written to (an emptyDir, a tmpfs).
        is_wrapped: log-shipper was in front of the command; it is taken off.
        least_grace_s: what is left after the stop signal at the least, whatever preStop took.
        initial_size: rows and columns of its terminal when the program starts.
    """

    name: str
    source: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    missing: tuple[Missing, ...] = ()
    cwd: str | None = None
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    user: int | str | None = None
    group: int | str | None = None
    groups: tuple[int, ...] = ()
    umask: int | None = None
    rlimits: Mapping[str, Limit] = field(default_factory=dict)
    memory_bytes: int | None = None
    cpus: float | None = None
    read_only_root: bool = False
    scratch: tuple[str, ...] = ()
    no_new_privileges: bool = False
    privileged: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    grace_period_s: float = DEFAULT_GRACE_PERIOD_S
    least_grace_s: float = 0.0
    stop_signal: str = DEFAULT_STOP_SIGNAL
    pre_stop: PreStop | None = None
    image: str | None = None
    hostname: str | None = None
    is_wrapped: bool = False
    initial_size: tuple[int, int] = (0, 0)
    notes: tuple[Note, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed; empty where only the image knows."""
        if self.command is None:
            return ()
        return self.command + (self.args or ())

    def given(self, values: Mapping[str, str]) -> Container:
        """The same with variables from elsewhere, which win and are missed no more."""
        env = {**dict(self.env), **values}
        missing = tuple(one for one in self.missing if one.name not in values)
        return replace(self, env=tuple(env.items()), missing=missing)

    def on_image(self, image: Container) -> Container:
        """The same with what the image says where nothing else does.

        ENTRYPOINT and CMD as Kubernetes and Docker have it: a command of its own takes the image's CMD
        away too.
        """
        command, args = self.command, self.args
        if command is None:
            command = image.command or ()
            args = image.args if args is None else args
        own_signal = self.stop_signal != DEFAULT_STOP_SIGNAL
        return replace(
            self,
            command=command,
            args=args,
            env=tuple((dict(image.env) | dict(self.env)).items()),
            cwd=self.cwd or image.cwd,
            user=image.user if self.user is None else self.user,
            group=image.group if self.user is None and self.group is None else self.group,
            stop_signal=self.stop_signal if own_signal else image.stop_signal,
        )
