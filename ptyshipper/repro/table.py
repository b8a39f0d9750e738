"""What of a container is reproduced where, and what cannot be: one table, for people and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ptyshipper.repro.container import Container
from ptyshipper.repro.host import HostPlan, is_limit
from ptyshipper.repro.switches import Switches

_MAX_SHOWN = 60


class Verdict(Enum):
    """Whether the program finds it as in the container."""

    YES = "yes"
    PARTLY = "partly"
    NO = "no"
    OFF = "off"


class Row(NamedTuple):
    """One thing: what it is in the container, whether it is so here, and what to know of that."""

    what: str
    value: str
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True)
class Situation:
    """What the table is about.

    Attributes:
        host: how it runs on the host; None where it runs in its own files.
        place: where it runs, for a person: ``this host``, ``podman``, ``runc, ./root``.
        has_limits: the memory and the processors of the whole container can be limited.
        is_inside: log-shipper runs in the container, as process 1.
        is_by_runtime: runc or crun copies what goes in and out.
    """

    container: Container
    switches: Switches
    place: str
    host: HostPlan | None
    has_limits: bool
    is_inside: bool = False
    is_by_runtime: bool = False


Judge = Callable[[Situation], Row | None]


def rows(situation: Situation) -> Iterator[Row]:
    """Of what was said of the container; then of what the file says and nobody does."""
    for judge in _JUDGES:
        row = judge(situation)
        if row is not None:
            yield row
    for name, source in situation.container.missing:
        yield Row(name, source, Verdict.NO, f"give it by --env {name}=… or --env-file")
    for field, reason in situation.container.notes:
        yield Row(field, "", Verdict.NO, reason)


def _files(at: Situation) -> Row:
    if at.host is None:
        return Row("files", at.place, Verdict.YES)
    return Row("files", at.container.image or "the image's", Verdict.NO, "those of this host")


def _command(at: Situation) -> Row:
    container = at.container
    words = shlex.join(container.argv or container.args or ())
    if container.command is None and at.host is not None:
        return Row(
            "command", words, Verdict.PARTLY, "the image's ENTRYPOINT is not known; --image-config"
        )
    return Row("command", words, Verdict.YES)


def _environment(at: Situation) -> Row:
    count = len(at.container.env)
    said = f"{count} variable{'s' if count != 1 else ''}, and the runtime's"
    if not at.switches.clean_env:
        return Row("environment", said, Verdict.OFF, "this one's too")
    if at.host is not None and not at.container.command:
        return Row("environment", said, Verdict.PARTLY, "the image's variables are not known")
    return Row("environment", said, Verdict.YES)


def _directory(at: Situation) -> Row:
    if at.host is not None and at.host.wrong_cwd:
        return Row(
            "directory", at.host.wrong_cwd, Verdict.NO, "is not here; runs in the present one"
        )
    return Row("directory", at.container.cwd or "/", Verdict.YES)


def _terminal(at: Situation) -> Row:
    if not at.container.tty:
        return Row("terminal", "none", Verdict.YES, "and none controls it")
    rows, columns = at.container.initial_size
    if at.is_by_runtime:
        why = "by itself a runtime switches onlcr off, so lines end with \\n alone"
        return Row("terminal", f"{columns}x{rows}, then sized", Verdict.PARTLY, why)
    if not at.switches.late_size:
        return Row("terminal", "0x0, then sized", Verdict.OFF, "of our size at once")
    return Row("terminal", f"{columns}x{rows}, then sized", Verdict.YES)


def _stdin(at: Situation) -> Row:
    if at.is_by_runtime and not at.container.stdin and not at.container.tty:
        return Row("stdin", "closed", Verdict.PARTLY, "a pipe at its end instead of /dev/null")
    if not at.container.stdin:
        return Row("stdin", "closed", Verdict.YES, "nothing typed goes in; -i lets it")
    return Row(
        "stdin", "open, ends with ours" if at.container.stdin_once else "open for ever", Verdict.YES
    )


def _user(at: Situation) -> Row | None:
    container, host = at.container, at.host
    ids = [one for one in (container.user, container.group) if one is not None]
    said = ":".join(map(str, ids)) or "the image's"
    if not at.switches.user:
        return Row("user", said, Verdict.OFF)
    if host is None:
        return Row("user", said, Verdict.YES)
    if host.unknown_user is not None:
        return Row("user", said, Verdict.NO, "only the image knows its number; runs as you")
    if container.user is None and host.is_root:
        return Row("user", said, Verdict.PARTLY, "not known; root, as in most images")
    if container.user is None:
        return Row("user", said, Verdict.NO, "not known; runs as you")
    if host.is_root:
        return Row("user", said, Verdict.YES)
    if host.surroundings.maps_user:
        return Row("user", said, Verdict.PARTLY, "stands for you in a user namespace")
    return Row("user", said, Verdict.NO, "you are not root; runs as you")


def _groups(at: Situation) -> Row | None:
    groups = at.container.groups
    if not groups:
        return None
    said = ", ".join(map(str, groups))
    if not at.switches.user:
        return Row("groups", said, Verdict.OFF)
    if at.host is not None and not at.host.surroundings.groups:
        return Row("groups", said, Verdict.NO, "only root may be in others' groups")
    return Row("groups", said, Verdict.YES)


def _capabilities(at: Situation) -> Row:
    container = at.container
    changes = [
        *(f"+{one}" for one in container.add_capabilities),
        *(f"-{one}" for one in container.drop_capabilities),
    ]
    said = "all" if container.privileged else " ".join(["a container's", *changes])
    if not at.switches.capabilities:
        return Row("capabilities", said, Verdict.OFF)
    if at.host is None or at.host.is_root:
        return Row("capabilities", said, Verdict.YES)
    if at.host.surroundings.maps_user:
        return Row("capabilities", said, Verdict.PARTLY, "within a user namespace")
    return Row("capabilities", said, Verdict.NO, "you are not root")


def _umask(at: Situation) -> Row:
    umask = 0o022 if at.container.umask is None else at.container.umask
    return Row("umask", f"{umask:04o}", Verdict.YES)


def _rlimits(at: Situation) -> Row | None:
    limits = at.container.rlimits
    if not limits:
        return None
    said = " ".join(f"{name.lower()}={soft}:{hard}" for name, (soft, hard) in limits.items())
    if not at.switches.rlimits:
        return Row("rlimits", said, Verdict.OFF)
    unknown = [name.lower() for name in limits if not is_limit(name)]
    if unknown:
        return Row("rlimits", said, Verdict.PARTLY, f"{', '.join(unknown)}: not known here")
    if at.host is not None and not at.host.is_root:
        return Row("rlimits", said, Verdict.PARTLY, "not above your own hard limits")
    return Row("rlimits", said, Verdict.YES)


def _memory(at: Situation) -> Row | None:
    if at.container.memory_bytes is None:
        return None
    said = f"{at.container.memory_bytes} bytes"
    if not at.switches.memory_limit:
        return Row("memory", said, Verdict.OFF)
    if at.has_limits:
        return Row("memory", said, Verdict.YES)
    if at.host is None:
        return Row("memory", said, Verdict.NO, "needs a cgroup, so root")
    why = "RLIMIT_DATA of each process: allocating fails, nothing is killed"
    return Row("memory", said, Verdict.PARTLY, f"{why}; --no-memory-limit")


def _cpus(at: Situation) -> Row | None:
    if at.container.cpus is None:
        return None
    said = f"{at.container.cpus:g}"
    if at.has_limits:
        return Row("processors", said, Verdict.YES)
    return Row("processors", said, Verdict.NO, "needs a cgroup; no rlimit bounds a share")


def _root(at: Situation) -> Row | None:
    if not at.container.read_only_root:
        return None
    if not at.switches.read_only_root:
        return Row("root", "read-only", Verdict.OFF)
    if at.host is not None and not at.host.surroundings.read_only:
        return Row("root", "read-only", Verdict.NO, _refusal(at.host))
    return Row("root", "read-only", Verdict.YES)


def _scratch(at: Situation) -> Row | None:
    scratch = at.container.scratch
    if not scratch:
        return None
    said = ", ".join(scratch)
    lacking = [path for path in scratch if at.host and path not in at.host.surroundings.scratch]
    if lacking:
        return Row("empty", said, Verdict.NO, f"not here: {', '.join(lacking)}")
    return Row("empty", said, Verdict.YES)


def _first(at: Situation) -> Row:
    wrapped = at.container.is_wrapped or at.is_inside
    said = "log-shipper" if wrapped else "the program"
    if not at.switches.pid_namespace:
        return Row("process 1", said, Verdict.OFF)
    if at.host is not None and not at.host.surroundings.isolates:
        return Row("process 1", said, Verdict.NO, _refusal(at.host))
    if at.is_inside and not at.container.is_wrapped:
        return Row(
            "process 1",
            "the program",
            Verdict.NO,
            "it is log-shipper, as with AnvilOps; --no-wrapper",
        )
    if at.container.is_wrapped and not at.is_inside and at.host is None:
        return Row("process 1", said, Verdict.NO, "it is the program itself")
    return Row("process 1", said, Verdict.YES)


def _hostname(at: Situation) -> Row:
    name = at.container.hostname or at.container.name
    if at.host is not None and at.host.surroundings.hostname is None:
        return Row("hostname", name, Verdict.PARTLY, "in HOSTNAME only")
    return Row("hostname", name, Verdict.YES)


def _network(at: Situation) -> Row:
    return Row(
        "network", "the container's", Verdict.NO, "this host's; no other service, no DNS of theirs"
    )


def _stopping(at: Situation) -> Row:
    container, hook = at.container, at.container.pre_stop
    steps = [container.stop_signal, f"{container.grace_period_s:g} s", "SIGKILL"]
    if hook is not None:
        said = shlex.join(hook.command) if hook.command else f"{hook.sleep_s:g} s"
        steps.insert(0, f"preStop ({said})")
    shown = ", ".join(steps)
    if hook is not None and not at.switches.pre_stop:
        return Row("stop", shown, Verdict.PARTLY, "without preStop")
    return Row("stop", shown, Verdict.YES)


def _refusal(host: HostPlan) -> str:
    if host.refusal is None:
        return "this host does not let us"
    return f"this host lets us make no namespaces: {host.refusal}"


_JUDGES: tuple[Judge, ...] = (
    _files,
    _command,
    _environment,
    _directory,
    _terminal,
    _stdin,
    _user,
    _groups,
    _capabilities,
    _umask,
    _rlimits,
    _memory,
    _cpus,
    _root,
    _scratch,
    _first,
    _hostname,
    _network,
    _stopping,
)


def as_json(row: Row) -> dict[str, str]:
    """One object; always the same four."""
    return {"what": row.what, "value": row.value, "verdict": row.verdict.value, "why": row.why}


_COLOURS = {Verdict.YES: 32, Verdict.PARTLY: 33, Verdict.NO: 31, Verdict.OFF: 2}


def as_text(found: list[Row], *, colours: bool) -> str:
    """For a person, a line each; what stands in a file can do nothing to the terminal."""
    shown = [
        (_plain(row.what), _plain(row.value), row.verdict, _plain(row.why, 100)) for row in found
    ]
    widths = [max((len(row[at]) for row in shown), default=0) for at in (0, 1)]  # type: ignore[arg-type]
    lines = []
    for what, value, verdict, why in shown:
        said = f"{verdict.value:6}"
        if colours:
            said = f"\x1b[{_COLOURS[verdict]}m{said}\x1b[m"
        lines.append(f"  {said}  {what:{widths[0]}}  {value:{widths[1]}}  {why}".rstrip())
    return "\n".join(lines)


def _plain(text: str, most: int = _MAX_SHOWN) -> str:
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
