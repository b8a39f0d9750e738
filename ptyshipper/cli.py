"""argv in, exit code out: the only place that ends the process.

Signals are seized first of all, and nothing is imported that the command does not need:
``log-shipper`` is the first process of a container.
"""

from __future__ import annotations

import os
import sys

from ptyshipper.child import signals
from ptyshipper.errors import PtyshipperError
from ptyshipper.light import TYPE_CHECKING
from ptyshipper.variables import SETTING_PREFIX

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import NoReturn

    from ptyshipper.child.environment import Environment
    from ptyshipper.config import AgentSettings, TtyMode
    from ptyshipper.launch import Launch
    from ptyshipper.spool.recording import Recording

EXIT_CODES: dict[int, str] = {
    0: "it went well; of run and log-shipper: the program's own",
    1: "it did not; one line on stderr says why",
    2: "the command line or a setting is wrong",
    126: "run, log-shipper: the program was found but can't be executed",
    127: "run, log-shipper: the program was not found",
}
"""What this program ends with beside the wrapped program's own status (128+n: by signal n)."""


def main_log_shipper() -> NoReturn:
    """``log-shipper COMMAND [ARG…]``: no option of ours, settings from the environment only."""
    _log_shipper(signals.seize(), None)


def main() -> NoReturn:
    """``ptyshipper COMMAND …``."""
    _ptyshipper(signals.seize(), None)


def main_bundled() -> NoReturn:
    """The bundle's one entry point: which of the two it is, the launcher tells."""
    signals.seize()  # again, in the interpreter's own way: the launcher blocked them before
    from ptyshipper.launch import received

    launch = received()
    if launch is None:
        _fail("this is a part of log-shipper; start log-shipper itself", 2)
    if launch.name == "ptyshipper":
        _ptyshipper(launch.pristine, launch)
    _log_shipper(launch.pristine, launch)


def _log_shipper(pristine: signals.Pristine, launch: Launch | None) -> NoReturn:
    if len(sys.argv) < 2:
        _fail("log-shipper: no command; use: log-shipper COMMAND [ARG…]", 2)
    argv = [os.fsencode(word) for word in sys.argv[1:]]
    _end(_wrap(argv, pristine, launch, {}))


def _ptyshipper(pristine: signals.Pristine, launch: Launch | None) -> NoReturn:
    from ptyshipper import command_line

    args, command = command_line.parse(sys.argv[1:], is_bundle=launch is not None)
    try:
        if args.subcommand == "run":
            if not command:
                _fail("run: no command; use: ptyshipper run [OPTION…] [--] COMMAND [ARG…]", 2)
            from ptyshipper.config import SETTINGS

            flags = command_line.flags_of(args, SETTINGS)
            argv = [os.fsencode(word) for word in command]
            _end(_wrap(argv, pristine, launch, flags, args))
        if args.subcommand == "repro":
            if args.session is not None:
                _end(_repeat(args, pristine))
            _end(_repro(args))
        signals.release(pristine)
        _end(_read_or_serve(args, launch))
    except ModuleNotFoundError as error:
        if launch is None:
            raise
        _fail(
            f"{args.subcommand}: the self-contained log-shipper only wraps ({error.name} is left out);"
            " for the rest: pip install 'ptyshipper[serve]'",
            2,
        )
    except PtyshipperError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end(130)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # the interpreter's own flush would say so again
        _end(141)


def _end(code: int) -> NoReturn:
    """End without the interpreter's goodbye: a thread may still sit in a system call."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # closed, or nobody reads: there is nobody to tell
    os._exit(code)


def _fail(message: str, code: int) -> NoReturn:
    os.write(2, f"ptyshipper: {message}\n".encode(errors="backslashreplace"))
    _end(code)


def _wrap(
    argv: list[bytes],
    pristine: signals.Pristine,
    launch: Launch | None,
    flags: Mapping[str, str],
    run: argparse.Namespace | None = None,
) -> int:
    """Wrap a program; its exit code. ``run``: the options of that command, where it is that.

    What can't be read of them, or a recording that can't be made, ends this before the program starts.
    """
    from ptyshipper import agent
    from ptyshipper.child.environment import given_environment

    tty: TtyMode | None = None
    recording: Recording | None = None
    data = token_file = None
    if run is not None:
        from ptyshipper.config import settings_from

        data, token_file = run.data_dir, run.token_file
        checked = settings_from({}, flags, _no_warning)
        tty = checked["tty"] if "tty" in flags else None
        if run.record is not None:
            from ptyshipper.spool.recording import Recording

            recording = Recording.create(run.record, overwrite=run.force)
    environment = launch.environment if launch else given_environment()

    def load(warn: Callable[[str], None]) -> AgentSettings:
        return _load_settings(
            environment,
            flags,
            data,
            token_file,
            warn,
            launch,
            local=run is not None,
            needs_backend=recording is None,
        )

    is_watched = run is not None and not run.quiet and os.isatty(2)
    wait = _say_wait if is_watched else None
    helper = launch.helper if launch else None
    made = agent.Agent(argv, environment, pristine, tty, load, wait, helper, recording)
    outcome = made.run()
    if is_watched:
        path = recording.path if recording is not None and recording.is_whole else None
        _say_goodbye(outcome.session_id, outcome.delivered, path)
    return outcome.exit_code


def _say_goodbye(session_id: bytes | None, delivered: bool, recording: str | None) -> None:
    from ptyshipper.closing_line import closing_line

    line = closing_line(session_id, delivered, recording)
    if line:
        _tell(line)


def _repro(args: argparse.Namespace) -> int:
    """Signals stay blocked: the wrapper that is started, and what looks after it, take them."""
    from ptyshipper.child.environment import given_environment
    from ptyshipper.command_line import flags_of
    from ptyshipper.config import SETTINGS, settings_from
    from ptyshipper.repro.command import repro

    flags = flags_of(args, SETTINGS)
    settings_from({}, flags, _no_warning)
    environment = given_environment()

    def load(warn: Callable[[str], None]) -> AgentSettings:
        return _load_settings(
            environment,
            flags,
            args.data_dir,
            args.token_file,
            warn,
            None,
            local=True,
            needs_backend=args.record is None,
        )

    return repro(args, load, _say_goodbye)


def _repeat(args: argparse.Namespace, pristine: signals.Pristine) -> int:
    """``repro --session``; signals stay blocked, as for ``_repro``."""
    from ptyshipper.child.environment import given_environment
    from ptyshipper.command_line import flags_of
    from ptyshipper.config import SETTINGS, settings_from
    from ptyshipper.repro.repeat import options_of, repeat
    from ptyshipper.variables import PRIVATE_PREFIX

    flags = flags_of(args, SETTINGS)
    settings_from({}, flags, _no_warning)
    environment = given_environment()

    def load(warn: Callable[[str], None]) -> AgentSettings:
        return _load_settings(
            environment,
            flags,
            args.data_dir,
            args.token_file,
            warn,
            None,
            local=True,
            needs_backend=False,
        )

    return repeat(
        options_of(args),
        _data_dir(args.data_dir, os.environ),
        environment.without(PRIVATE_PREFIX.encode()),
        pristine,
        load,
        _tell,
    )


def _no_warning(message: str) -> None:
    pass


def _say_wait() -> None:
    os.write(
        2, b"ptyshipper: waiting for the backend to take the rest; ^C leaves it to the next run\n"
    )


def _load_settings(
    environment: Environment,
    flags: Mapping[str, str],
    data: str | None,
    token_file: str | None,
    warn: Callable[[str], None],
    launch: Launch | None,
    *,
    local: bool,
    needs_backend: bool = True,
) -> AgentSettings:
    """Settings from flags, the environment and, locally, what ``serve`` left in the data directory."""
    from pathlib import Path

    from ptyshipper import config

    text = {
        name.decode("ascii", "replace"): value.decode("utf-8", "surrogateescape")
        for name, value in environment.variables.items()
    }
    values = config.settings_from(text, flags, warn)
    endpoint, token = values["endpoint"], values["token"]
    if token_file is not None:
        token = _read_token(Path(token_file), warn)
    chosen = values["spool_dir"]
    is_chosen = local or chosen is not None
    if local:
        data_dir = _data_dir(data, text)
        if endpoint is None:
            endpoint, token = _local_backend(data_dir, warn, is_needed=needs_backend)
        chosen = chosen or data_dir / "spool"
    missing = "ENDPOINT" if endpoint is None else "TOKEN" if token is None else None
    # What is there but can't be read has had its warning, and one without the other says enough.
    is_told = (local and endpoint is None) or token_file is not None
    if missing and not is_told and not text.get(SETTING_PREFIX + missing):
        warn(f"{SETTING_PREFIX}{missing} is not set; nothing is shipped")
    uplink = None
    if endpoint is not None and token is not None:
        uplink = config.UplinkSettings(
            endpoint,
            token,
            values["ca_file"],
            values["flush_timeout_s"],
            launch.ca_bundle if launch else None,
            values["transport"],
            values["colours"],
        )
    if chosen:
        places = [chosen]
    else:
        places = [Path(text.get("TMPDIR") or "/tmp")]
        if launch is not None:
            places.insert(0, Path(launch.directory))
    return config.AgentSettings(
        tty=values["tty"],
        deployment_id=values["deployment_id"],
        log_type=values["log_type"],
        drain_timeout_s=values["drain_timeout_s"],
        spool=config.SpoolSettings(
            tuple(places), values["spool_max_bytes"], values["spool_overflow"], is_chosen
        ),
        uplink=uplink,
    )


def _read_token(path: Path, warn: Callable[[str], None]) -> str | None:
    from ptyshipper.config import parse_token

    try:
        return parse_token(path.read_text("ascii").strip())
    except (OSError, ValueError):
        warn(f"can't read a token from {path}; nothing is shipped")
        return None


def _data_dir(data: str | None, environ: Mapping[str, str]) -> Path:
    from pathlib import Path

    from ptyshipper import statefile

    return Path(data) if data else statefile.default_data_dir(dict(environ))


def _local_backend(
    data_dir: Path, warn: Callable[[str], None], *, is_needed: bool
) -> tuple[str, str] | tuple[None, None]:
    from ptyshipper import statefile
    from ptyshipper.wire.paths import INGEST_PATH

    try:
        state = statefile.read(data_dir)
    except PtyshipperError as error:
        warn(str(error))
        return None, None
    if state is None:
        if is_needed:
            warn("no backend runs here, so nothing is recorded; start one with: ptyshipper serve")
        return None, None
    return state.url + INGEST_PATH, state.ingest_token


def _read_or_serve(args: argparse.Namespace, launch: Launch | None) -> int:
    if args.subcommand == "install":
        return _install(args.directory, launch)
    if args.subcommand == "serve":
        return _serve(args)
    if args.subcommand == "token":
        return _token(args)
    if args.subcommand == "completion":
        from ptyshipper.completion import script

        print(script(args.shell), end="")
        return 0
    data_dir = _data_dir(args.data_dir, os.environ)
    match args.subcommand:
        case "sessions":
            from ptyshipper.view.sessions import sessions

            return sessions(data_dir, as_json=args.json, out=sys.stdout)
        case "logs":
            from ptyshipper.view.logs import logs

            return logs(
                data_dir,
                args.session,
                follow=args.follow,
                timestamps=args.timestamps,
                stream=args.stream,
                raw=args.raw,
                as_json=args.json,
            )
        case "watch":
            from ptyshipper.view.watch import watch

            return watch(data_dir, args.session)
        case "export":
            from ptyshipper.view.export import export

            return export(data_dir, args.session, format=args.format, out=sys.stdout.buffer)
    raise AssertionError(args.subcommand)


def _install(directory: str, launch: Launch | None) -> NoReturn:
    """Hand over to the installer: in the image it is beside us, and ``make bundle`` builds it."""
    from pathlib import Path

    if launch:
        installer = Path(launch.directory) / "install-log-shipper"
        missing = (
            "what is installed can't install itself; use the file or the image that it came from"
        )
    else:
        installer = Path(__file__).parent.parent / "dist" / "log-shipper"
        missing = (
            "this is not the self-contained log-shipper; build it with 'make bundle', and use"
            " dist/log-shipper, or use the image"
        )
    try:
        os.execv(installer, ["install-log-shipper", directory])
    except OSError:
        raise PtyshipperError(f"install: {missing}") from None


def _serve(args: argparse.Namespace) -> int:
    from ptyshipper.command_line import flags_of
    from ptyshipper.serve_config import SERVE_SETTINGS, serve_settings

    settings = serve_settings(os.environ, flags_of(args, SERVE_SETTINGS))
    try:
        from ptyshipper.backend.app import serve
    except ModuleNotFoundError as error:
        _refuse_without(error)

    def announce(line: str) -> None:
        print(line, flush=True)

    # A link that logs in is for the person who looks on, and for no log.
    serve(settings, announce=announce, with_link=sys.stdout.isatty())
    return 0


def _refuse_without(error: ModuleNotFoundError) -> NoReturn:
    from ptyshipper.errors import BackendError

    if error.name == "ptyshipper.backend":
        raise error  # this is the bundle, which leaves all of it out
    raise BackendError(
        f"serve needs {error.name}; install it with: pip install 'ptyshipper[serve]'"
    ) from None


def _token(args: argparse.Namespace) -> int:
    from ptyshipper.backend import token_command
    from ptyshipper.command_line import flags_of
    from ptyshipper.serve_config import TOKEN_SETTINGS, token_settings

    settings = token_settings(os.environ, flags_of(args, TOKEN_SETTINGS))
    place = token_command.Place(settings.data_dir, settings.store_url)
    match args.action:
        case "create":
            token_command.create(
                place,
                deployment_id=args.deployment,
                app_id=args.app,
                name=args.name,
                good_for_s=args.expires,
                out=sys.stdout,
                tell=_tell,
            )
        case "list":
            token_command.show(place, as_json=args.json, out=sys.stdout)
        case "revoke":
            token_command.revoke(place, args.number, _tell)
        case "link":
            token_command.link(
                place, app_id=args.app, public_url=settings.public_url, out=sys.stdout
            )
    return 0


def _tell(line: str) -> None:
    os.write(2, f"ptyshipper: {line}\n".encode(errors="backslashreplace"))
