"""The services of a compose file.

Source: the compose specification, spec.md and 05-services.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from ptyshipper.repro.container import DEFAULT_STOP_SIGNAL, Container, Limit, Missing, Note, PreStop
from ptyshipper.repro.documents import Field
from ptyshipper.repro.env_file import read_env_file
from ptyshipper.repro.image import DOCKER_GRACE_PERIOD_S, user_and_group
from ptyshipper.repro.interpolation import interpolate
from ptyshipper.repro.signal_names import signal_name
from ptyshipper.repro.wrapping import is_private, unwrapped

_BYTES = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(
    r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,6})?)s)?(?:(\d{1,9})ms)?"
)
_READ = {
    "cap_add", "cap_drop", "command", "container_name", "cpus", "entrypoint", "env_file", "environment",
    "group_add", "hostname", "image", "mem_limit", "pre_stop", "privileged", "read_only", "security_opt",
    "stdin_open", "stop_grace_period", "stop_signal", "tmpfs", "tty", "ulimits", "user", "working_dir",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "annotations", "attach", "labels", "logging", "platform", "profiles", "pull_policy", "restart", "scale",
}  # fmt: skip
_NOTES = {
    "build": "not built; name its image, or run it with --where host",
    "depends_on": "not started",
    "extends": "not merged; 'docker compose config' prints the file with it",
    "healthcheck": "not run",
    "init": "the program is process 1 here all the same; --no-pid-namespace",
    "networks": "not there",
    "ports": "nothing is forwarded",
    "post_start": "not run",
    "volumes": "not there",
    "secrets": "not there",
    "configs": "not there",
    "devices": "not there",
    "deploy": "only its limits of memory and cpus are read",
}


def is_compose(document: Field) -> bool:
    return document.is_map() and "services" in document.names() and "kind" not in document.names()


def services(document: Field) -> list[str]:
    return [name for name, _ in document.need("services").fields()]


class Surroundings:
    """What a compose file takes from where it stands.

    Args:
        folder: of the file: env_file is relative to it, and ``.env`` is in it.
        given: variables from the command line.
        here: this process's environment; compose looks there first.
    """

    def __init__(self, folder: Path, given: Mapping[str, str], here: Mapping[str, str]) -> None:
        self.folder = folder
        self.given = given
        beside = folder / ".env"
        dotenv = read_env_file(beside, here, unquote=True) if beside.is_file() else {}
        self.variables = dotenv | dict(here) | dict(given)
        self.unset: set[str] = set()

    def text(self, field: Field) -> str:
        """A value with its variables replaced."""
        try:
            text = interpolate(field.scalar_text(), self.variables, self.unset)
        except ValueError as error:
            raise field.error(str(error)) from None
        if "\0" in text:
            raise field.error("has a NUL character, which no process can be given")
        return text


def container(document: Field, name: str, around: Surroundings) -> Container:
    """One service.

    Raises:
        ManifestError: a field is not what compose takes.
        UsageError: its env_file can't be read.
    """
    service = _Service(document.need("services").need(name), around)
    command, args = service.words("entrypoint"), service.words("command")
    own = unwrapped(command, args)
    user, group = service.user()
    pre_stop, notes = service.pre_stop()
    env, missing = service.environment()
    groups, group_notes = service.groups()
    unset = sorted(around.unset - set(around.given))
    notes += [Note(f"${{{one}}}", "is not set, so empty; give it by --env") for one in unset]
    return Container(
        name=name,
        source=f"service {name}",
        command=own or command,
        args=() if own else args,
        env=tuple(env.items()),
        missing=missing,
        cwd=service.text("working_dir"),
        tty=service.truth("tty"),
        stdin=service.truth("stdin_open"),
        user=user,
        group=group,
        groups=groups,
        rlimits=service.limits(),
        memory_bytes=service.memory(),
        cpus=service.cpus(),
        read_only_root=service.truth("read_only"),
        scratch=tuple(path.partition(":")[0] for path in service.texts("tmpfs")),
        no_new_privileges=any(
            option.replace(":", "=") in ("no-new-privileges", "no-new-privileges=true")
            for option in service.texts("security_opt")
        ),
        privileged=service.truth("privileged"),
        add_capabilities=service.capabilities("cap_add"),
        drop_capabilities=service.capabilities("cap_drop"),
        grace_period_s=service.grace(),
        stop_signal=service.stop_signal(),
        pre_stop=pre_stop,
        image=service.text("image"),
        hostname=service.text("hostname"),
        is_wrapped=bool(own),
        notes=(*notes, *group_notes, *service.notes()),
    )


class _Service:
    """A service's fields, as compose reads them."""

    def __init__(self, field: Field, around: Surroundings) -> None:
        self._field = field
        self._around = around
        if not field.is_map():
            raise field.error("must be a map: a service's fields")

    def text(self, name: str) -> str | None:
        found = self._field.get(name)
        return (self._around.text(found) or None) if found else None

    def texts(self, name: str) -> list[str]:
        """A list, or one that stands for itself."""
        found = self._field.get(name)
        if found is None:
            return []
        return [self._around.text(item) for item in (found.items() if found.is_list() else [found])]

    def truth(self, name: str) -> bool:
        found = self._field.get(name)
        if found is None:
            return False
        if isinstance(found.value, str):
            text = self._around.text(found).lower()
            if text in ("true", "false"):
                return text == "true"
        return found.truth()

    def words(self, name: str) -> tuple[str, ...] | None:
        found = self._field.get(name)
        if found is None:
            return None
        if found.is_list():
            return tuple(self._around.text(item) for item in found.items())
        return self._split(found)

    def _split(self, field: Field) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self._around.text(field)))
        except ValueError as error:
            raise field.error(f"can't be split into words: {error}".lower()) from None

    def environment(self) -> tuple[dict[str, str], tuple[Missing, ...]]:
        values: dict[str, str] = {}
        missing: dict[str, Missing] = {}
        for path, is_needed in self._env_files():
            if is_needed or path.is_file():
                values |= read_env_file(path, self._around.variables, unquote=True)
        for name, value, where in self._entries():
            if value is None and name in self._around.variables:
                value = self._around.variables[name]
            if value is None:
                missing[name] = Missing(name, f"{where}, from the environment of docker compose")
            else:
                values[name] = value
        given = self._around.given
        env = {
            name: given.get(name, value) for name, value in values.items() if not is_private(name)
        }
        return env, tuple(one for one in missing.values() if one.name not in env)

    def _env_files(self) -> Iterator[tuple[Path, bool]]:
        found = self._field.get("env_file")
        if found is None:
            return
        for item in found.items() if found.is_list() else [found]:
            required = item.get("required") if item.is_map() else None
            path = self._around.text(item.need("path") if item.is_map() else item)
            yield self._around.folder / path, required is None or required.truth()

    def _entries(self) -> Iterator[tuple[str, str | None, str]]:
        found = self._field.get("environment")
        if found is None:
            return
        if found.is_list():
            for item in found.items():
                name, equals, value = self._around.text(item).partition("=")
                if not name:
                    raise item.error("must be NAME or NAME=VALUE")
                yield name, value if equals else None, item.path
            return
        for name in found.names():
            if not name or "=" in name or "\0" in name:
                raise found.error(f"has a variable without a proper name: {name[:40]!a}")
            value_field = found.get(name)
            yield (
                name,
                self._around.text(value_field) if value_field else None,
                f"{found.path}.{name}",
            )

    def user(self) -> tuple[int | str | None, int | str | None]:
        found = self._field.get("user")
        if found is not None and isinstance(found.value, str):
            user, _, group = self._around.text(found).partition(":")
            ids = [
                int(one) if one.isascii() and one.isdigit() and len(one) < 11 else one or None
                for one in (user, group)
            ]
            return ids[0], ids[1]
        return user_and_group(found)

    def groups(self) -> tuple[tuple[int, ...], list[Note]]:
        groups, notes = [], []
        for text in self.texts("group_add"):
            if text.isascii() and text.isdigit() and len(text) < 11:
                groups.append(int(text))
            else:
                notes.append(Note("group_add", f"only the image knows the number of {text[:40]!a}"))
        return tuple(groups), notes

    def capabilities(self, name: str) -> tuple[str, ...]:
        return tuple(one.upper().removeprefix("CAP_") for one in self.texts(name))

    def limits(self) -> dict[str, Limit]:
        found = self._field.get("ulimits")
        limits = {}
        for name, field in found.fields() if found else ():
            if field.is_map():
                soft, hard = (field.need(which).whole(-1, 2**63 - 1) for which in ("soft", "hard"))
            else:
                soft = hard = field.whole(-1, 2**63 - 1)
            if -1 != hard < soft or (soft == -1 != hard):
                raise field.error("has a soft limit above its hard one")
            limits[name.upper()] = Limit(soft, hard)
        return limits

    def memory(self) -> int | None:
        found = self._field.get("mem_limit") or self._field.at(
            "deploy", "resources", "limits", "memory"
        )
        if found is None:
            return None
        match = _BYTES.fullmatch(self._around.text(found))
        if match is None:
            raise found.error("is no size; write one such as 512m")
        whole, part, unit = match.groups()
        factor = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}[unit.lower()]
        return int(float(f"{whole}.{part or 0}") * factor) or None

    def cpus(self) -> float | None:
        found = self._field.get("cpus") or self._field.at("deploy", "resources", "limits", "cpus")
        if found is None:
            return None
        try:
            cpus = float(self._around.text(found))
        except ValueError:
            raise found.error("must be a number of processors") from None
        if not 0 <= cpus < 2**20:
            raise found.error("must be a number of processors")
        return cpus or None

    def grace(self) -> float:
        found = self._field.get("stop_grace_period")
        if found is None:
            return DOCKER_GRACE_PERIOD_S
        text = self._around.text(found)
        match = _DURATION.fullmatch(text)
        if not text or match is None:
            raise found.error("is no duration; write one such as 1m30s")
        hours, minutes, seconds, ms = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + ms / 1000

    def stop_signal(self) -> str:
        found = self._field.get("stop_signal")
        if found is None:
            return DEFAULT_STOP_SIGNAL
        try:
            return signal_name(self._around.text(found))
        except ValueError as error:
            raise found.error(str(error)) from None

    def pre_stop(self) -> tuple[PreStop | None, list[Note]]:
        hooks = self._field.list_of("pre_stop")
        if not hooks:
            return None, []
        command = hooks[0].need("command")
        if command.is_list():
            words = tuple(self._around.text(item) for item in command.items())
        else:
            words = self._split(command)
        if not words:
            raise command.error("is empty; give it a command")
        return PreStop(command=words), [
            Note(hook.path, "only the first is run") for hook in hooks[1:]
        ]

    def notes(self) -> Iterator[Note]:
        for name, field in self._field.fields():
            if name in _NOTES:
                if field.value is not False:
                    yield Note(field.path, _NOTES[name])
            elif name not in _READ and name not in _WITHOUT_EFFECT and not name.startswith("x-"):
                yield Note(field.path, "not taken over")
