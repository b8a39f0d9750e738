"""``ptyshipper repro --session``: a recorded program again, and both sessions beside each other."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ptyshipper.agent import Agent, Outcome
from ptyshipper.child.environment import Environment
from ptyshipper.child.signals import Pristine
from ptyshipper.closing_line import closing_line
from ptyshipper.config import AgentSettings
from ptyshipper.errors import RecordingError, UsageError
from ptyshipper.printed import text
from ptyshipper.records import Kind, Record, Started, read_started
from ptyshipper.repro import rootfs
from ptyshipper.repro.command import becoming, given_variables
from ptyshipper.repro.compare import MAX_MOMENTS, Comparison, compare
from ptyshipper.repro.comparison_text import comparison_lines
from ptyshipper.repro.container import Container
from ptyshipper.repro.playback import Stage, play
from ptyshipper.repro.session import Recorded, recorded
from ptyshipper.repro.switches import Switches
from ptyshipper.repro.timeline import Moment, Resize, moment_of, playable
from ptyshipper.spool.recording import Recording
from ptyshipper.view.recording import RecordingFile
from ptyshipper.view.source import Source, find
from ptyshipper.wire.messages import SESSION_ID_BYTES

Load = Callable[[Callable[[str], None]], AgentSettings]


_LEAST_LENGTH_US, _MOST_LENGTH_US = 1_000_000, 10_000_000


class Options(NamedTuple):
    """The words of the command line.

    ``rootfs`` is an unpacked root to run it in, by ``runtime``; else it runs with the files of this host.
    ``record`` is a file to keep the repetition in, which ``force`` overwrites; ``check``: the exit status
    tells whether both are the same, instead of being the program's.
    """

    session: str
    env: Mapping[str, str]
    timeline: bool = False
    ignore: tuple[str, ...] = ()
    check: bool = False
    rootfs: str | None = None
    runtime: str | None = None
    switches: Switches = Switches()
    record: str | None = None
    force: bool = False
    print_only: bool = False
    as_json: bool = False
    quiet: bool = False


def options_of(args: argparse.Namespace) -> Options:
    """What was said on the command line.

    Raises:
        UsageError: an option can't be read, or is none of a session's.
    """
    if args.file is not None:
        raise UsageError("repro: give a FILE or --session, not both")
    if args.where == "image" or args.engine is not None:
        raise UsageError("repro: a session does not tell its image; unpack it, and give --rootfs")
    return Options(
        session=args.session,
        env=given_variables(args),
        timeline=args.timeline,
        ignore=tuple(args.ignore),
        check=args.check,
        rootfs=args.rootfs,
        runtime=args.runtime,
        switches=Switches.from_flags(frozenset(args.off)),
        record=args.record,
        force=args.force,
        print_only=args.print or args.explain,
        as_json=args.json,
        quiet=args.quiet,
    )


class _Past(NamedTuple):
    """What the recorded session's records tell before it is run again."""

    started: Started
    kinds: frozenset[int]
    moments: tuple[Moment, ...]
    length_us: int


def repeat(
    options: Options,
    data_dir: Path,
    environment: Environment,
    pristine: Pristine,
    load: Load,
    tell: Callable[[str], None],
) -> int:
    """Run a session's program again, compare, and say what is different.

    Args:
        environment: this process's, for what the session does not tell of; nothing private in it.
        load: the wrapper's settings; told how to warn.
        tell: says a line to a person, on stderr.

    Returns:
        The program's exit status; with ``check`` 0 where both are the same, else 1.

    Raises:
        BackendError, RecordingError, UsageError: no such session, or it can't be run.
    """
    _check_patterns(options.ignore)
    source = find(data_dir, options.session)
    past = _look_through(source)
    again = recorded(source.session, source.about, past.started, past.kinds)
    container = again.container.given(options.env)
    if options.print_only:
        print(_command_line(again, container, options.env))
        return 0
    if not options.quiet and not options.as_json:
        for line in _what_is_repeated(again, container, options):
            tell(line)
    entries = (
        [f"{name}={value}" for name, value in container.env] if again.has_env else
        [*_here(environment, options.env)]
    )  # fmt: skip
    given = Environment(os.fsencode(entry) for entry in entries)
    with (
        tempfile.TemporaryDirectory(prefix="ptyshipper-") as directory,
        _in_root(container, options) as runs_it,
    ):
        path = options.record or f"{directory}/repeated"
        if isinstance(source, RecordingFile) and os.path.exists(path) and source.is_at(path):
            raise UsageError(f"repro: --record {path} is the session itself; give another file")
        recording = Recording.create(path, overwrite=options.force)
        settings = load(
            tell
        )  # a warning of the wrapper's own would stand on the program's terminal
        outcome_read, outcome_write = os.pipe()

        def run(begun: Callable[[int], None]) -> int:
            os.close(outcome_read)
            if runs_it is None:
                _enter(container)
            argv = [os.fsencode(word) for word in container.argv]
            enter = None if runs_it is None else becoming(runs_it, os.environ)
            agent = Agent(
                argv,
                given,
                pristine,
                again.tty,
                lambda warn: settings,
                recording=recording,
                enter=enter,
            )
            begun(agent.started_ns)
            outcome = agent.run()
            _report(outcome_write, outcome)
            return outcome.exit_code

        size, moments = _size_and_moments(container, past, timeline=options.timeline)
        try:
            status = play(Stage(again.stdio, size), run, moments, _input_ends_us(past, moments))
        except OSError as error:
            raise UsageError(f"the session can't be run here: {error.strerror}") from None
        os.close(outcome_write)
        outcome = _reported(outcome_read, status)
        recording.close()
        comparison = _compared(source, path, options)
    if comparison is None:
        raise UsageError("the program was not started, so there is nothing to compare")
    if options.as_json:
        os.write(2, json.dumps(comparison.as_json()).encode() + b"\n")
    elif not options.quiet:
        for line in comparison_lines(comparison):
            tell(line)
    if not options.quiet and not options.as_json and os.isatty(2):
        line = closing_line(outcome.session_id, outcome.delivered, options.record)
        if line:
            tell(line)
    if options.check:
        return int(comparison.differs)
    return status


def _check_patterns(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(
                f"repro: --ignore {pattern!r} is no regular expression: {error}"
            ) from None


def _records(source: Source) -> Iterator[Record]:
    for item in source.records():
        if isinstance(item, Record):
            yield item


def _look_through(source: Source) -> _Past:
    started: Started | None = None
    kinds: set[int] = set()
    moments: list[Moment] = []
    length_us = 0
    for record in _records(source):
        length_us = record.time_us
        kinds.add(record.kind)
        if record.kind == Kind.STARTED and started is None:
            started = read_started(record.payload)
        elif (moment := moment_of(record)) is not None and len(moments) < MAX_MOMENTS:
            moments.append(moment)
    if started is None:
        raise UsageError(f"{source.label} does not tell how its program was started")
    return _Past(started, frozenset(kinds), tuple(moments), length_us)


def _size_and_moments(
    container: Container, past: _Past, *, timeline: bool
) -> tuple[tuple[int, int], list[Moment]]:
    """The size to begin with, and what comes later. Without a timeline a terminal that began without
    a size gets at once the first one that it had."""
    if timeline:
        return container.initial_size, playable(past.moments)
    sizes = [one.what for one in past.moments if isinstance(one.what, Resize)]
    if 0 in container.initial_size and sizes:
        return container.initial_size, [Moment(0, sizes[0])]
    return container.initial_size, []


def _input_ends_us(past: _Past, moments: list[Moment]) -> int:
    """When the program should be through, and nobody is there to type."""
    expected_us = min(max(past.length_us, _LEAST_LENGTH_US), _MOST_LENGTH_US)
    return max([expected_us, *(moment.time_us + _LEAST_LENGTH_US for moment in moments)])


def _here(environment: Environment, given: Mapping[str, str]) -> Iterator[str]:
    """This environment, with variables that win."""
    for name, value in environment.variables.items():
        if os.fsdecode(name) not in given:
            yield os.fsdecode(name + b"=" + value)
    for given_name, given_value in given.items():
        yield f"{given_name}={given_value}"


@contextmanager
def _in_root(container: Container, options: Options) -> Iterator[list[str] | None]:
    """What runs it in the unpacked root, None where it runs with this host's files."""
    if options.rootfs is None:
        yield None
        return
    root = Path(options.rootfs)
    if not root.is_dir():
        raise UsageError(f"repro: --rootfs {root}: there is no such directory")
    runtime = rootfs.find_runtime(options.runtime)
    config = rootfs.config(container, root, options.switches)
    rows, cols = container.initial_size
    if container.tty and rows and cols:
        # Else the runtime passes the size on a moment after the program's start.
        config["process"]["consoleSize"] = {"height": rows, "width": cols}
    bundle = rootfs.Bundle(runtime, container, config)
    try:
        yield bundle.argv
    finally:
        bundle.remove()


def _enter(container: Container) -> None:
    """The program's directory and umask; what it had is not here is said by whoever starts it."""
    if container.umask is not None:
        os.umask(container.umask)
    if container.cwd is not None:
        try:
            os.chdir(container.cwd)
        except OSError as error:
            raise UsageError(f"can't run in {container.cwd}: {error.strerror}") from None


def _report(fd: int, outcome: Outcome) -> None:
    os.write(fd, bytes([outcome.delivered]) + (outcome.session_id or b""))


def _reported(fd: int, status: int) -> Outcome:
    told = os.read(fd, 1 + SESSION_ID_BYTES)
    os.close(fd)
    return Outcome(status, told[1:] or None, told[:1] == b"\x01")


def _compared(source: Source, path: str, options: Options) -> Comparison | None:
    """None where the program was not even started."""
    try:
        again = RecordingFile(Path(path))
    except RecordingError:
        return None
    with closing(again):
        return compare(
            lambda: _records(source),
            lambda: _records(again),
            options.ignore,
            timeline=options.timeline,
        )


def _command_line(again: Recorded, container: Container, hidden: Mapping[str, str]) -> str:
    """What a shell would be told; hidden variables are named, not shown."""
    command = shlex.join(["ptyshipper", "run", "--tty", again.tty, "--", *container.argv])
    if again.has_env:
        entries = (
            f'{name}="${name}"' if name in hidden else shlex.quote(f"{name}={value}")
            for name, value in container.env
        )
        command = " ".join(["env", "-i", *entries, command])
    place = f"cd {shlex.quote(container.cwd)} && " if container.cwd else ""
    mask = f"umask {container.umask:04o} && " if container.umask is not None else ""
    return text.visible(place + mask + command, colours=False)


def _what_is_repeated(again: Recorded, container: Container, options: Options) -> Iterator[str]:
    """One line of what is run, then what is not as it was."""
    where = f" in {container.cwd}" if container.cwd else ""
    yield text.visible(
        f"{container.source} again: {shlex.join(container.argv)}{where}", colours=False
    )
    if container.missing:
        names = ", ".join(one.name for one in container.missing)
        yield text.visible(f"without these variables, whose values are not recorded (--env): {names}",
                           colours=False)  # fmt: skip
    for note in container.notes:
        yield f"{note.field}: {note.reason}"
