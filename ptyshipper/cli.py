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
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, NoReturn

    from ptyshipper.child.environment import Environment
    from ptyshipper.config import AgentSettings, TtyMode
    from ptyshipper.launch import Launch

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
    args, command = _parse(sys.argv[1:], is_bundle=launch is not None)
    try:
        if args.subcommand == "run":
            if not command:
                _fail("run: no command; use: ptyshipper run [OPTION…] [--] COMMAND [ARG…]", 2)
            flags = {k: v for k, v in vars(args).items() if k in _flag_names() and v is not None}
            argv = [os.fsencode(word) for word in command]
            _end(_wrap(argv, pristine, launch, flags, args.data, args.token_file, local=True))
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


def _flag_names() -> set[str]:
    from ptyshipper.config import SETTINGS

    return {setting.name for setting in SETTINGS if setting.flag}


def _wrap(
    argv: list[bytes],
    pristine: signals.Pristine,
    launch: Launch | None,
    flags: Mapping[str, str],
    data: str | None = None,
    token_file: str | None = None,
    *,
    local: bool = False,
) -> int:
    """Wrap a program; its exit code. Flags that can't be read end this before the program starts."""
    from ptyshipper import agent
    from ptyshipper.child.environment import given_environment

    tty: TtyMode | None = None
    if local:
        from ptyshipper.config import settings_from

        checked = settings_from({}, flags, _no_warning)
        tty = checked["tty"] if "tty" in flags else None
    environment = launch.environment if launch else given_environment()

    def load(warn: Callable[[str], None]) -> AgentSettings:
        return _load_settings(environment, flags, data, token_file, warn, launch, local=local)

    is_watched = local and os.isatty(2)
    wait = _say_wait if is_watched else None
    helper = launch.helper if launch else None
    outcome = agent.Agent(argv, environment, pristine, tty, load, wait, helper).run()
    if is_watched and outcome.session_id is not None:
        _say_goodbye(outcome.session_id.hex(), outcome.delivered)
    return outcome.exit_code


def _no_warning(message: str) -> None:
    pass


def _say_wait() -> None:
    os.write(
        2, b"ptyshipper: waiting for the backend to take the rest; ^C leaves it to the next run\n"
    )


def _say_goodbye(session: str, delivered: bool) -> None:
    """The one line that ``run`` may print where a person looks on."""
    how = f"read it back: ptyshipper logs {session[:12]}"
    if not delivered:
        how = "not all of it delivered yet; the next run here sends the rest"
    os.write(2, f"ptyshipper: session {session[:12]}; {how}\n".encode())


def _load_settings(
    environment: Environment,
    flags: Mapping[str, str],
    data: str | None,
    token_file: str | None,
    warn: Callable[[str], None],
    launch: Launch | None,
    *,
    local: bool,
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
            endpoint, token = _local_backend(data_dir, warn)
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
    data_dir: Path, warn: Callable[[str], None]
) -> tuple[str, str] | tuple[None, None]:
    from ptyshipper import statefile
    from ptyshipper.wire.paths import INGEST_PATH

    try:
        state = statefile.read(data_dir)
    except PtyshipperError as error:
        warn(str(error))
        return None, None
    if state is None:
        warn("no backend runs here, so nothing is recorded; start one with: ptyshipper serve")
        return None, None
    return state.url + INGEST_PATH, state.ingest_token


def _parse(words: Sequence[str], *, is_bundle: bool) -> tuple[argparse.Namespace, Sequence[str]]:
    """Our own words, and the program's, which begin at the first that is no option of ``run``."""
    parser = _parser(is_bundle)
    if "run" not in words[:1]:
        return parser.parse_args(words), []
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        takes_value = "=" not in words[at] and words[at] not in ("-h", "--help")
        at += 2 if takes_value else 1
    args = parser.parse_args(words[:at])
    return args, words[at + 1 :] if words[at : at + 1] == ["--"] else words[at:]


def _parser(is_bundle: bool) -> argparse.ArgumentParser:
    import argparse

    from ptyshipper import __version__
    from ptyshipper.config import SETTINGS

    def with_examples(text: str, *examples: str) -> dict[str, Any]:
        return {
            "description": text,
            "help": text[0].lower() + text[1:].rstrip("."),
            "epilog": "examples:\n" + "\n".join(f"  {example}" for example in examples),
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }

    def not_bundled(text: str, *examples: str) -> dict[str, Any]:
        """The bundle lacks it: it says so when it is asked to, and does not offer it."""
        options = with_examples(text, *examples)
        if is_bundle:
            del options["help"]
        return options

    purpose = "Wrap a program, keep its terminal, ship what it prints"
    examples = ["ptyshipper run -- bash"]
    if not is_bundle:
        purpose += "; and read it back"
        examples = ["ptyshipper serve", *examples, "ptyshipper logs -f latest"]
    parser = argparse.ArgumentParser(
        "ptyshipper",
        description=f"{purpose}.",
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ptyshipper {__version__}")
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        usage="ptyshipper run [OPTION…] [--] COMMAND [ARG…]",
        **with_examples(
            "Wrap a program here as log-shipper wraps it in a container.",
            "ptyshipper run -- make test",
            "ptyshipper run --tty always -- python train.py > train.log",
        ),
    )
    for setting in SETTINGS:
        if setting.flag:
            run.add_argument(
                setting.flag, dest=setting.name, metavar=setting.metavar, help=setting.help
            )
    run.add_argument("--token-file", metavar="FILE", help="a file that holds the bearer token")

    serve = commands.add_parser(
        "serve",
        **not_bundled(
            "Run the backend that keeps what is shipped.",
            "ptyshipper serve",
            "ptyshipper serve --port 0 --data ./data",
        ),
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=_port, default=7410, help="port; 0: any free (%(default)s)")

    sessions = commands.add_parser(
        "sessions",
        **not_bundled(
            "List what was recorded.", "ptyshipper sessions", "ptyshipper sessions --json"
        ),
    )
    sessions.add_argument("--json", action="store_true", help="one JSON object a line")

    logs = commands.add_parser(
        "logs",
        **not_bundled(
            "Show what a session printed.",
            "ptyshipper logs latest",
            "ptyshipper logs -f --timestamps 3f2a",
            "ptyshipper logs --raw --stream stdout latest > out.bin",
        ),
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the session ends")
    logs.add_argument("--timestamps", action="store_true", help="begin each line with its time")
    logs.add_argument("--stream", choices=("stdout", "stderr", "tty"), help="only this stream")
    form = logs.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the program's bytes, exactly")
    form.add_argument("--json", action="store_true", help="one JSON object a line")

    watch = commands.add_parser(
        "watch",
        **not_bundled(
            "Look on, live and read-only, in this terminal; q leaves.", "ptyshipper watch latest"
        ),
    )
    export = commands.add_parser(
        "export",
        **not_bundled(
            "Write a session out to take away.",
            "ptyshipper export latest --format cast > run.cast; asciinema play run.cast",
        ),
    )
    export.add_argument(
        "--format", choices=("cast", "text", "jsonl"), default="cast", help="(%(default)s)"
    )
    install = commands.add_parser(
        "install",
        **with_examples(
            "Put the self-contained log-shipper into a directory.",
            "ptyshipper install /mnt/log-shipper-volume",
        ),
    )
    install.add_argument("directory", metavar="DIR", help="made if it is missing")
    for command in (logs, watch, export):
        command.add_argument("session", metavar="SESSION", help="an id, its beginning, or latest")
    for command in (run, serve, sessions, logs, watch, export):
        command.add_argument(
            "--data", metavar="DIR", help="the data directory (PTYSHIPPER_DATA, else XDG state)"
        )
    return parser


def _port(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _read_or_serve(args: argparse.Namespace, launch: Launch | None) -> int:
    if args.subcommand == "install":
        return _install(args.directory, launch)
    data_dir = _data_dir(args.data, os.environ)
    match args.subcommand:
        case "serve":
            return _serve(args, data_dir)
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


def _serve(args: argparse.Namespace, data_dir: Path) -> int:
    from ptyshipper.errors import BackendError

    try:
        from ptyshipper.backend.app import serve
    except ModuleNotFoundError as error:
        if error.name == "ptyshipper.backend":
            raise  # this is the bundle, which leaves all of it out
        raise BackendError(
            f"serve needs {error.name}; install it with: pip install 'ptyshipper[serve]'"
        ) from None

    def announce(line: str) -> None:
        print(line, flush=True)

    serve(args.host, args.port, data_dir, announce=announce)
    return 0
