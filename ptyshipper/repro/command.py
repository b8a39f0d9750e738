"""``ptyshipper repro``: from the words of the command line to the program's exit status."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, Protocol

from ptyshipper.agent import Agent
from ptyshipper.child.environment import Environment
from ptyshipper.child.signals import ALL, Pristine
from ptyshipper.child.spawn import Command
from ptyshipper.config import AgentSettings
from ptyshipper.errors import UsageError
from ptyshipper.repro import engine, image, rootfs
from ptyshipper.repro.attach import SIZED_AFTER_S, Attachment, Stdio, Target, tell_started
from ptyshipper.repro.container import Container
from ptyshipper.repro.env_file import pair, read_env_file
from ptyshipper.repro.host import HostTarget, host_plan, host_runner
from ptyshipper.repro.load import load, read_file
from ptyshipper.repro.stop import Stop
from ptyshipper.repro.switches import Switches
from ptyshipper.repro.table import Row, Situation, as_json, as_text, rows
from ptyshipper.spool.recording import Recording
from ptyshipper.variables import SETTING_PREFIX
from ptyshipper.wire.messages import SESSION_ID_BYTES

Load = Callable[[Callable[[str], None]], AgentSettings]
Goodbye = Callable[[bytes | None, bool, str | None], None]
"""Says where the session is: its id, None where it was not shipped; whether the backend has all of it; the
file that it was recorded to."""
BUNDLE = Path(__file__).parents[2] / "dist" / "log-shipper"


class Prepared(Protocol):
    """A container that is ready to be run somewhere."""

    situation: Situation

    def start(self, session: Session) -> tuple[Callable[[int], NoReturn], Target, float]:
        """What becomes the container, how it is reached, and when its terminal gets its size."""

    def printed(self) -> str:
        """The command line that does nearly the same."""

    def remove(self) -> None:
        """What was made for it."""


class Session:
    """log-shipper outside of the container, around the process that becomes it."""

    def __init__(self, settings: AgentSettings, recording: Recording | None) -> None:
        self._settings = settings
        self._recording = recording
        self._read_end, self._write_end = os.pipe()

    def wrap(self, command: Command, has_terminal: bool) -> NoReturn:
        """Run the command under log-shipper and end as it ends; in a process of its own."""
        for signo in ALL:
            if signo not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(signo, signal.SIG_DFL)
        agent = Agent(
            command.argv,
            command.environment,
            Pristine(frozenset(), frozenset()),
            "auto" if has_terminal else "never",
            lambda warn: self._settings,
            recording=self._recording,
            enter=command.enter,
            enter_fds=command.enter_fds,
        )
        outcome = agent.run()
        if outcome.session_id is not None:
            os.write(self._write_end, outcome.session_id + bytes([outcome.delivered]))
        os._exit(outcome.exit_code)

    def outcome(self) -> tuple[bytes, bool] | None:
        """The session's id, and whether the backend has all of it; None where nothing was shipped."""
        os.set_blocking(self._read_end, False)
        try:
            told = os.read(self._read_end, SESSION_ID_BYTES + 1)
        except BlockingIOError:
            return None
        return told[:SESSION_ID_BYTES], told.endswith(b"\x01")


def repro(args: argparse.Namespace, load_settings: Load, say_goodbye: Goodbye) -> int:
    """Run what the file describes; the program's exit status.

    Raises:
        UsageError: the file or an option is wrong.
    """
    if args.file is None:
        raise UsageError("repro: give a FILE or --session; see: ptyshipper repro --help")
    # Blocked since the process began, for the sake of the wrapper; what is prepared may be broken off.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    stop_after_s, grace_s = (_seconds(args, name) for name in ("stop_after", "grace"))
    given = given_variables(args)
    container = _described(args, given)
    if grace_s is not None:
        container = replace(container, grace_period_s=grace_s)
    switches = Switches.from_flags(frozenset(args.off))
    prepared = _prepare(args, container, switches, load_settings, frozenset(given))
    try:
        if args.print:
            print(prepared.printed())
            return 0
        _explain(args, prepared.situation)
        if args.explain:
            return 0
        recording = None
        if args.record is not None:
            recording = Recording.create(args.record, overwrite=args.force)
        # Read out here: a warning of the wrapper's own would stand on the container's terminal.
        session = Session(load_settings(_warn), recording)
        status, outcome = _run(prepared, session, stop_after_s)
        if recording is not None:
            recording.close()
        if os.isatty(2) and not args.quiet:
            session_id, delivered = outcome or (None, False)
            say_goodbye(session_id, delivered, args.record)
        return status
    finally:
        prepared.remove()


def _seconds(args: argparse.Namespace, name: str) -> float | None:
    text = getattr(args, name)
    if text is None:
        return None
    try:
        seconds = float(text)
        if not 0 <= seconds <= 1e6:
            raise ValueError
    except ValueError:
        raise UsageError(f"--{name.replace('_', '-')} must be a number of seconds") from None
    return seconds


def given_variables(args: argparse.Namespace) -> dict[str, str]:
    """Variables from the command line; --env wins over --env-file, a later one over an earlier."""
    given: dict[str, str] = {}
    for name in args.env_file:
        given |= read_env_file(Path(name), os.environ)
    for text in args.env:
        try:
            found = pair(text, os.environ)
        except ValueError as error:
            raise UsageError(f"--env {error}") from None
        if found is None:
            raise UsageError(f"--env {text}: there is no such variable here; write {text}=VALUE")
        given[found[0]] = found[1]
    return given


def _described(args: argparse.Namespace, given: Mapping[str, str]) -> Container:
    container = load(args.file, args.container, given)
    if args.image_config is not None:
        first = read_file(args.image_config)[0]
        if not image.is_image(first):
            raise first.error("is no configuration of an image; use skopeo inspect --config")
        container = container.on_image(image.containers(first)[0])
    if args.interactive:
        container = replace(container, stdin=True, stdin_once=True)
    return container


def _prepare(
    args: argparse.Namespace,
    container: Container,
    switches: Switches,
    load_settings: Load,
    hidden: frozenset[str],
) -> Prepared:
    if args.rootfs is not None:
        if args.where == "image":
            raise UsageError("repro: --rootfs and --where image exclude each other")
        return _InRoot(container, switches, Path(args.rootfs), args.runtime)
    wants_image = args.where == "image" or args.engine is not None
    if args.where == "host" and args.engine is not None:
        raise UsageError("repro: --engine and --where host exclude each other")
    if args.where != "host" and (container.image is not None or wants_image):
        if container.image is None:
            raise UsageError(f"repro: {container.source} names no image; use --where host")
        found = engine.find_engine(args.engine)
        if found is not None:
            return _InImage(container, switches, found, args, load_settings, hidden)
        if wants_image:
            raise UsageError("repro: neither podman nor docker answers; use --where host")
    return _OnHost(container, switches, hidden)


def _explain(args: argparse.Namespace, situation: Situation) -> None:
    """Say what is reproduced: to whom asks on stdout, else beside the program's output."""
    found = list(rows(situation))
    out = sys.stdout if args.explain else sys.stderr
    if args.json:
        out.write("".join(f"{json.dumps(as_json(row))}\n" for row in found))
    elif not args.quiet:
        is_shown = out.isatty()
        colours = is_shown and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        shown = found if args.explain or is_shown else _worth_a_line(found)
        heading = f"{situation.container.source}, container {situation.container.name}, {situation.place}:"
        out.write(f"ptyshipper: repro: {heading}\n{as_text(shown, colours=colours)}\n")
    out.flush()


def _worth_a_line(found: list[Row]) -> list[Row]:
    """Where nobody looks on: what is not as in the container."""
    return [row for row in found if row.verdict.value in ("no", "partly")]


def _run(
    prepared: Prepared, session: Session, stop_after_s: float | None
) -> tuple[int, tuple[bytes, bool] | None]:
    """The exit status, and what ``Session.outcome`` says."""
    container, switches = prepared.situation.container, prepared.situation.switches
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    run, target, sized_after_s = prepared.start(session)
    stdio = Stdio(
        container.tty,
        container.stdin,
        container.stdin_once,
        container.initial_size if switches.late_size or not os.isatty(0) else _size_here(),
        sized_after_s if switches.late_size else 0.0,
    )
    hook = container.pre_stop if switches.pre_stop else None
    attachment = Attachment(
        run,
        stdio,
        target,
        Stop(hook, container.grace_period_s, container.least_grace_s),
        stop_after_s=stop_after_s,
        has_stop_keys=switches.stop_keys,
        say=_say,
    )
    return attachment.run(), session.outcome()


def _size_here() -> tuple[int, int]:
    size = os.get_terminal_size(0)
    return size.lines, size.columns


def _say(line: str) -> None:
    _warn(f"repro: {line}")


def _warn(line: str) -> None:
    os.write(2, f"ptyshipper: {line}\n".encode(errors="backslashreplace"))


class _OnHost:
    """With the files of this host."""

    def __init__(self, container: Container, switches: Switches, hidden: frozenset[str]) -> None:
        self._plan = host_plan(container, switches)
        self._hidden = hidden
        self.situation = Situation(
            container, switches, "on this host", self._plan, has_limits=False
        )

    def start(self, session: Session) -> tuple[Callable[[int], NoReturn], Target, float]:
        target = HostTarget(self._plan)
        return host_runner(self._plan, target, session.wrap), target, SIZED_AFTER_S

    def printed(self) -> str:
        return self._plan.printed(self._hidden)

    def remove(self) -> None:
        pass


def becoming(argv: list[str], environ: Mapping[str, str]) -> Callable[[], None]:
    """Executes another program, with signals as a new process has them."""

    def become() -> None:
        for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signo, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(argv[0], argv, dict(environ))

    return become


def _outside(
    session: Session, container: Container, argv: list[str], environ: Mapping[str, str]
) -> Callable[[int], NoReturn]:
    """log-shipper around what runs the container; the session tells of the container's command."""
    words = container.argv or container.args or (container.image or container.name,)
    become = becoming(argv, environ)

    def run(told_fd: int) -> NoReturn:
        command = Command([os.fsencode(word) for word in words], Environment(()))

        def enter() -> None:
            tell_started(told_fd)
            become()

        command.enter, command.enter_fds = enter, (told_fd,)
        session.wrap(command, container.tty)

    return run


class _InRoot:
    """In an unpacked root, by an OCI runtime."""

    def __init__(
        self, container: Container, switches: Switches, root: Path, runtime: str | None
    ) -> None:
        if not root.is_dir():
            raise UsageError(f"repro: --rootfs {root}: there is no such directory")
        self._runtime = rootfs.find_runtime(runtime)
        self._config = rootfs.config(container, root, switches)
        self._bundle: rootfs.Bundle | None = None
        self.situation = Situation(
            container, switches, f"in {root}, by {self._runtime}", None,
            has_limits=os.geteuid() == 0, is_by_runtime=True,
        )  # fmt: skip

    def start(self, session: Session) -> tuple[Callable[[int], NoReturn], Target, float]:
        container = self.situation.container
        self._bundle = rootfs.Bundle(self._runtime, container, self._config)
        run = _outside(session, container, self._bundle.argv, os.environ)
        return run, self._bundle, SIZED_AFTER_S

    def printed(self) -> str:
        argv, text = rootfs.printed(self._runtime, self._config)
        return f"# with this config.json in the directory:\n{text}\n{shlex.join(argv)}"

    def remove(self) -> None:
        if self._bundle is not None:
            self._bundle.remove()


class _InImage:
    """In its image, by an engine."""

    def __init__(
        self,
        container: Container,
        switches: Switches,
        name: str,
        args: argparse.Namespace,
        load_settings: Load,
        hidden: frozenset[str],
    ) -> None:
        self._engine, self._hidden = name, hidden
        container = engine.in_image(container, name)
        self._wrapping: engine.Wrapping | None = None
        self._run: engine.EngineRun | None = None
        if not (args.no_wrapper or args.print or args.record):
            self._wrapping = _wrapping(args, load_settings)
        if self._wrapping is not None and not container.argv:
            raise UsageError(
                f"repro: the image {container.image} has no command, and the file names none"
            )
        self.situation = Situation(
            container, switches, f"in its image, by {name}", None,
            has_limits=True, is_inside=self._wrapping is not None,
        )  # fmt: skip

    def start(self, session: Session) -> tuple[Callable[[int], NoReturn], Target, float]:
        container = self.situation.container
        made = engine.EngineRun(self._engine, container, self.situation.switches, self._wrapping)
        self._run = made
        if self._wrapping is None:
            return _outside(session, container, made.argv, made.environ), made, 0.0
        become = becoming(made.argv, made.environ)

        def run(told_fd: int) -> NoReturn:
            tell_started(told_fd)
            become()
            raise AssertionError

        return run, made, 0.0

    def printed(self) -> str:
        container = self.situation.container
        return shlex.join(
            engine.printed(self._engine, container, self.situation.switches, self._hidden)
        )

    def remove(self) -> None:
        if self._run is not None:
            self._run.remove()


def _wrapping(args: argparse.Namespace, load_settings: Load) -> engine.Wrapping | None:
    """log-shipper for the container, where there is one and a backend for it; else it runs outside."""
    bundle = Path(args.log_shipper) if args.log_shipper else BUNDLE
    if not bundle.is_file():
        if args.log_shipper:
            raise UsageError(f"repro: --log-shipper {bundle}: there is no such file")
        return None
    settings = load_settings(lambda message: None)  # which says so where it is run
    if settings.uplink is None:
        return None
    volume = settings.spool.directories[0].parent / "log-shipper"
    engine.install(bundle, volume)
    variables = {
        "ENDPOINT": settings.uplink.endpoint,
        "TOKEN": settings.uplink.token,
        "TYPE": settings.log_type,
    }
    if settings.deployment_id is not None:
        variables["DEPLOYMENT_ID"] = str(settings.deployment_id)
    named = {SETTING_PREFIX + name: value for name, value in variables.items()}
    return engine.Wrapping(volume, named)
