"""What engines tell of an image or a container: ``skopeo inspect --config``, ``docker inspect``.

Sources: the OCI image specification, config.md; the Docker Engine API's ImageInspect and
ContainerInspect. podman's are the same but for what is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ptyshipper.repro.container import DEFAULT_STOP_SIGNAL, Container, Limit, Note
from ptyshipper.repro.documents import Field
from ptyshipper.repro.signal_names import signal_name
from ptyshipper.repro.wrapping import is_private, unwrapped

DOCKER_GRACE_PERIOD_S = 10.0


def is_image(document: Field) -> bool:
    """An OCI configuration, or what ``inspect`` prints, which is a list."""
    if document.is_list():
        items = document.items()
        return (
            bool(items)
            and items[0].is_map()
            and bool({"Config", "RepoTags"} & set(items[0].names()))
        )
    return document.is_map() and bool(
        {"config", "Config", "rootfs", "Layers"} & set(document.names())
    )


def containers(document: Field) -> list[Container]:
    """Those that are described.

    Raises:
        ManifestError: a field is not what it must be.
    """
    if document.is_list():
        return [_described(item) for item in document.items()]
    return [_described(document)]


def _described(document: Field) -> Container:
    config = document.get("Config") or document.get("config")
    if config is None:
        raise document.error("has no configuration; use skopeo inspect --config, or docker inspect")
    host = document.get("HostConfig")
    tags = document.get("RepoTags")
    named = document.get("Name")
    image = config.get("Image") if host else None
    name = named.text().lstrip("/") if host and named else ""
    if image is not None:
        tag: str | None = image.text()
    else:
        tag = next((item.text() for item in tags.items()), None) if tags else None
    command, args = _words(config, "Entrypoint"), _words(config, "Cmd")
    own = unwrapped(command, args) or unwrapped(args, None)
    user, group = user_and_group(config.get("User"))
    cwd = config.get("WorkingDir")
    stop = config.get("StopSignal")
    stop_timeout = config.get("StopTimeout")
    hostname = config.get("Hostname") if host else None
    umask = config.get("Umask")
    return Container(
        name=name or (tag or "image").rpartition("/")[2].partition(":")[0],
        source=f"container {name}" if host else f"image {tag or ''}".rstrip(),
        command=own or (command if command is not None else ()),
        args=() if own else args,
        env=tuple(_environment(config)),
        cwd=cwd.text() if cwd and cwd.text() else None,
        tty=_truth(config, "Tty"),
        stdin=_truth(config, "OpenStdin"),
        stdin_once=_truth(config, "StdinOnce"),
        user=user,
        group=group,
        umask=umask_of(umask) if umask else None,
        stop_signal=_stop_signal(stop)
        if stop and stop.value not in ("", 0)
        else DEFAULT_STOP_SIGNAL,
        grace_period_s=float(stop_timeout.whole()) if stop_timeout else DOCKER_GRACE_PERIOD_S,
        hostname=(hostname.text() or None) if hostname else None,
        image=tag,
        is_wrapped=bool(own),
        **(_from_host(host) if host else {}),  # type: ignore[arg-type]
    )


def _from_host(host: Field) -> dict[str, object]:
    """What the engine was told beside the image."""
    limits = {}
    for entry in host.list_of("Ulimits"):
        name = entry.need("Name").text().upper().removeprefix("RLIMIT_")
        soft, hard = (entry.need(which).whole(-1, 2**63 - 1) for which in ("Soft", "Hard"))
        limits[name] = Limit(soft, hard)
    memory, nano = host.get("Memory"), host.get("NanoCpus")
    memory_bytes = memory.whole(0, 2**62) if memory else 0
    nano_cpus = nano.whole(0, 2**62) if nano else 0
    groups, notes = [], []
    for group in host.list_of("GroupAdd"):
        text = group.text()
        if text.isascii() and text.isdigit() and len(text) < 11:
            groups.append(int(text))
        else:
            notes.append(Note(group.path, "a name, of which only the image knows the number"))
    options = [option.text() for option in host.list_of("SecurityOpt")]
    tmpfs = host.get("Tmpfs")
    return {
        "rlimits": limits,
        "memory_bytes": memory_bytes or None,
        "cpus": nano_cpus / 1e9 or None,
        "read_only_root": _truth(host, "ReadonlyRootfs"),
        "scratch": tuple(tmpfs.names()) if tmpfs else (),
        "privileged": _truth(host, "Privileged"),
        "add_capabilities": _capabilities(host, "CapAdd"),
        "drop_capabilities": _capabilities(host, "CapDrop"),
        "groups": tuple(groups),
        "no_new_privileges": any(option.startswith("no-new-privileges") for option in options),
        "notes": (
            *notes,
            *(Note(one.path, f"not there: {one.shown()}") for one in host.list_of("Binds")),
        ),
    }


def _capabilities(host: Field, name: str) -> tuple[str, ...]:
    return tuple(one.text().upper().removeprefix("CAP_") for one in host.list_of(name))


def _words(config: Field, name: str) -> tuple[str, ...] | None:
    found = config.get(name)
    if found is None:
        return None
    if not found.is_list():  # podman's ENTRYPOINT, until its version 5
        return tuple(found.text().split()) or None
    return found.texts() or None


def _environment(config: Field) -> Iterator[tuple[str, str]]:
    values: dict[str, str] = {}
    for entry in config.list_of("Env"):
        name, equals, value = entry.text().partition("=")
        if not name or not equals:
            raise entry.error("must be NAME=VALUE")
        if not is_private(name):
            values[name] = value
    yield from values.items()


def _truth(field: Field, name: str) -> bool:
    found = field.get(name)
    return found is not None and found.truth()


def _stop_signal(field: Field) -> str:
    try:
        return signal_name(
            str(field.whole(1, 64)) if isinstance(field.value, int) else field.text()
        )
    except ValueError as error:
        raise field.error(str(error)) from None


def umask_of(field: Field) -> int:
    """Octal digits, as umask(1) has them."""
    text = field.text()
    if not text or len(text) > 5 or text.strip("01234567"):
        raise field.error('must be octal, such as "0022"')
    return int(text, 8) & 0o777


def user_and_group(field: Field | None) -> tuple[int | str | None, int | str | None]:
    """Of ``user``, ``uid``, ``user:group`` and so on."""
    text = field.scalar_text() if field else ""
    user, _, group = text.partition(":")
    return _id(user), _id(group)


def _id(text: str) -> int | str | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else text or None
