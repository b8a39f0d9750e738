"""The words of ``ptyshipper``: subcommands, their options and their help.

Settings come from their tables. Their values stay text here: ``settings.values_of`` reads them, with those
of the environment. Loaded for ``ptyshipper`` alone; ``log-shipper`` parses nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ptyshipper import __version__
from ptyshipper.config import SETTINGS
from ptyshipper.serve_config import (
    DATA_SETTING,
    PUBLIC_URL_SETTING,
    SERVE_SETTINGS,
    STORE_SETTING,
    age,
)
from ptyshipper.settings import Setting, Table, whole_number


def parse(
    words: Sequence[str], *, is_bundle: bool = False
) -> tuple[argparse.Namespace, Sequence[str]]:
    """Our own words, and the program's, which begin at the first that is no option of ``run``.

    Raises:
        SystemExit: argparse has said what is wrong, or helped.
    """
    parser = make_parser(is_bundle=is_bundle)
    if "run" not in words[:1]:
        return parser.parse_args(words), []
    switches = {
        word
        for action in subcommands(parser)["run"]._actions
        if action.nargs == 0
        for word in action.option_strings
    }
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        takes_value = "=" not in words[at] and words[at] not in switches
        at += 2 if takes_value else 1
    args = parser.parse_args(words[:at])
    return args, words[at + 1 :] if words[at : at + 1] == ["--"] else words[at:]


def flags_of(args: argparse.Namespace, table: Table) -> dict[str, str]:
    """What was given of a table's flags, by the settings' names."""
    given = {setting.name: getattr(args, setting.name, None) for setting in table if setting.flag}
    return {name: text for name, text in given.items() if text is not None}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as all of our errors do; ``--help`` has the rest."""

    def error(self, message: str) -> NoReturn:
        words = self.prog.partition(" ")[2]
        about = f"{words}: {message}" if words else message
        self.exit(2, f"ptyshipper: {about}; see: {self.prog} --help\n")


Commands = Any
"""What argparse's ``add_subparsers`` returns, a class that it keeps to itself."""


def make_parser(*, is_bundle: bool = False) -> argparse.ArgumentParser:
    """All commands and their options."""
    purpose, examples = "Wrap a program, keep its terminal, ship what it prints", ["run -- bash"]
    if not is_bundle:
        purpose += "; and read it back"
        examples = ["serve", *examples, "logs -f latest"]
    parser = _Parser(
        "ptyshipper",
        description=f"{purpose}.",
        epilog="\n".join(["examples:", *(f"  ptyshipper {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ptyshipper {__version__}")
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    # What the bundle lacks says so when it is asked for, but is not offered.
    offered = not is_bundle
    _add_run(commands)
    _add_serve(commands, offered)
    _add_token(commands, offered)
    _add_readers(commands, offered)
    _add_repro(commands, offered)
    _add_completion(commands, offered)
    _add_install(commands)
    return parser


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands, by their names; none where it has no commands."""
    # argparse has no public way to its own actions; shtab and argcomplete take this one.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _add(
    commands: Commands, name: str, text: str, *examples: str, offered: bool = True, **more: Any
) -> argparse.ArgumentParser:
    if offered:
        more["help"] = text[0].lower() + text[1:].rstrip(".")
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        description=text,
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **more,
    )
    return parser


def _add_settings(parser: argparse.ArgumentParser, *settings: Setting) -> None:
    for setting in settings:
        if not setting.flag:
            continue
        said = setting.help + (f" ({setting.default})" if setting.default else "")
        if setting.metavar:
            parser.add_argument(setting.flag, dest=setting.name, metavar=setting.metavar, help=said)
        else:
            parser.add_argument(
                setting.flag, dest=setting.name, action="store_const", const="yes", help=said
            )


def _add_run(commands: Commands) -> None:
    run = _add(
        commands,
        "run",
        "Wrap a program here as log-shipper wraps it in a container.",
        "ptyshipper run -- make test",
        "ptyshipper run --tty always -- python train.py > train.log",
        "ptyshipper run --record bash.rec -- bash",
        usage="ptyshipper run [OPTION…] [--] COMMAND [ARG…]",
    )
    _add_settings(run, *SETTINGS, DATA_SETTING)
    run.add_argument("--token-file", metavar="FILE", help="a file that holds the bearer token")
    _add_record(run)
    run.add_argument("--quiet", action="store_true", help="no closing line with the session's id")


def _add_record(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write the session to this file, with a backend or without; logs, watch and export read it",
    )
    parser.add_argument("--force", action="store_true", help="--record overwrites FILE")


def _switches() -> dict[str, str]:
    from ptyshipper.repro.switches import WHAT  # the bundle is without it

    return WHAT


def _add_repro(commands: Commands, offered: bool) -> None:
    repro = _add(
        commands,
        "repro",
        "Run a container's command here as the container runs it.",
        "ptyshipper repro pod.yaml",
        "ptyshipper repro deployment.yaml --container web --env-file .env",
        "ptyshipper repro compose.yaml --container db --where host --stop-after 10",
        "kubectl get pod web -o yaml | ptyshipper repro - --explain",
        "ptyshipper repro pod.yaml --rootfs ./unpacked --print",
        "ptyshipper repro --session ./bash.rec --timeline",
        "ptyshipper repro --session latest --check --ignore '[0-9:.]+'",
        offered=offered,
    )
    repro.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="a Kubernetes manifest, a compose file, or the configuration of an image or a container;"
        " - is stdin",
    )
    repro.add_argument(
        "-i", "--interactive", action="store_true", help="its stdin is open whatever the file says"
    )
    repro.add_argument("--container", metavar="NAME", help="which one, where there are several")
    repro.add_argument(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a variable, also a missing one",
    )
    repro.add_argument(
        "--env-file",
        metavar="FILE",
        action="append",
        default=[],
        help="variables, one NAME=VALUE a line",
    )
    repro.add_argument(
        "--image-config",
        metavar="FILE",
        help="the image's configuration: its ENTRYPOINT, CMD, user",
    )
    repro.add_argument(
        "--where",
        choices=("auto", "image", "host"),
        default="auto",
        help="in the image where there is an engine, else on this host (%(default)s)",
    )
    repro.add_argument("--engine", choices=("podman", "docker"), help="what runs the image")
    repro.add_argument("--rootfs", metavar="DIR", help="run in this unpacked root")
    repro.add_argument("--runtime", choices=("runc", "crun"), help="what runs the root")
    repro.add_argument(
        "--stop-after", metavar="S", help="stop it as an orchestrator does after so many seconds"
    )
    repro.add_argument("--grace", metavar="S", help="in place of the grace period of the file")
    shown = repro.add_mutually_exclusive_group()
    shown.add_argument(
        "--print", action="store_true", help="print the exact command line, run nothing"
    )
    shown.add_argument("--explain", action="store_true", help="say what is reproduced, run nothing")
    repro.add_argument("--json", action="store_true", help="say what is reproduced as JSON")
    repro.add_argument(
        "--quiet",
        action="store_true",
        help="say neither what is reproduced nor which session it was",
    )
    repro.add_argument(
        "--no-wrapper", action="store_true", help="in an image: log-shipper runs outside of it"
    )
    repro.add_argument(
        "--log-shipper", metavar="FILE", help="the self-contained log-shipper for the image"
    )
    for switch, what in _switches().items() if offered else ():
        flag = switch.replace("_", "-")
        repro.add_argument(
            f"--no-{flag}",
            dest="off",
            action="append_const",
            default=[],
            const=switch,
            help=f"without {what}",
        )
    _add_settings(repro, *(one for one in SETTINGS if one.flag != "--tty"), DATA_SETTING)
    repro.add_argument("--token-file", metavar="FILE", help="a file that holds the bearer token")
    _add_repeat(repro)


def _add_repeat(repro: argparse.ArgumentParser) -> None:
    """Of ``repro --session``, which has no FILE."""
    repeat = repro.add_argument_group("instead of FILE")
    repeat.add_argument(
        "--session",
        metavar="SESSION",
        help="run the program of a session again and compare: an id, its beginning, latest, or a recording",
    )
    repeat.add_argument(
        "--timeline",
        action="store_true",
        help="with the same resizes and signals at the same moments",
    )
    repeat.add_argument(
        "--ignore",
        metavar="REGEX",
        action="append",
        default=[],
        help="leave what it matches out of each line before comparing",
    )
    repeat.add_argument(
        "--check", action="store_true", help="exit with 0 where both are the same, else with 1"
    )
    _add_record(repeat)


def _add_serve(commands: Commands, offered: bool) -> None:
    serve = _add(
        commands,
        "serve",
        "Run the backend that keeps what is shipped.",
        "ptyshipper serve",
        "ptyshipper serve --port 0 --data ./data",
        "ptyshipper serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --retain 30d",
        offered=offered,
    )
    _add_settings(serve, *SERVE_SETTINGS)


def _add_token(commands: Commands, offered: bool) -> None:
    token = _add(
        commands,
        "token",
        "Make, list and revoke tokens.",
        "ptyshipper token create --deployment 42 --app 7 --name shop",
        "ptyshipper token create --view --app 7 --expires 30d",
        "ptyshipper token list",
        "ptyshipper token revoke 3",
        "ptyshipper token link",
        offered=offered,
    )
    actions = token.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = _add(
        actions,
        "create",
        "Make a token; it is printed this one time.",
        "ptyshipper token create --deployment 42 --app 7 --name shop",
        "ptyshipper token create --view --expires 30d",
    )
    purpose = create.add_mutually_exclusive_group(required=True)
    purpose.add_argument(
        "--deployment",
        metavar="N",
        type=_read_by(whole_number),
        help="for the shippers of this deployment",
    )
    purpose.add_argument("--view", action="store_true", help="for readers")
    create.add_argument("--name", metavar="TEXT", default="", help="to tell it from others by")
    create.add_argument(
        "--expires",
        metavar="AGE",
        type=_read_by(age),
        help="good for so long, with d, h, m or s; else for ever",
    )
    listing = _add(
        actions, "list", "List tokens: all but their secrets.", "ptyshipper token list --json"
    )
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    revoke = _add(actions, "revoke", "Accept a token no more.", "ptyshipper token revoke 3")
    revoke.add_argument(
        "number", metavar="NUMBER", type=_read_by(whole_number), help="as 'token list' has it"
    )
    link = _add(
        actions,
        "link",
        "Print an address that logs a browser in, once, within 10 minutes.",
        "ptyshipper token link",
    )
    for action, whose in (
        (create, "the app that the sessions belong to, or that may be read (all)"),
        (link, "the app that may be read (all)"),
    ):
        action.add_argument("--app", metavar="N", type=_read_by(whole_number), help=whose)
    for action in (create, listing, revoke, link):
        _add_settings(action, DATA_SETTING, STORE_SETTING)
    _add_settings(link, PUBLIC_URL_SETTING)


def _read_by(parse: Callable[[str], int]) -> Callable[[str], int]:
    """For argparse, which repeats only the words of an error of its own."""

    def read(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _add_readers(commands: Commands, offered: bool) -> None:
    sessions = _add(
        commands,
        "sessions",
        "List what was recorded.",
        "ptyshipper sessions",
        "ptyshipper sessions --json",
        offered=offered,
    )
    sessions.add_argument("--json", action="store_true", help="one JSON object a line")

    logs = _add(
        commands,
        "logs",
        "Show what a session printed.",
        "ptyshipper logs latest",
        "ptyshipper logs -f --timestamps 3f2a",
        "ptyshipper logs --raw --stream stdout latest > out.bin",
        offered=offered,
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the session ends")
    logs.add_argument("--timestamps", action="store_true", help="begin each line with its time")
    logs.add_argument("--stream", choices=("stdout", "stderr", "tty"), help="only this stream")
    form = logs.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the program's bytes, exactly")
    form.add_argument("--json", action="store_true", help="one JSON object a line")

    watch = _add(
        commands,
        "watch",
        "Look on, live and read-only, in this terminal; q leaves.",
        "ptyshipper watch latest",
        "ptyshipper watch ./bash.rec",
        offered=offered,
    )
    export = _add(
        commands,
        "export",
        "Write a session out to take away.",
        "ptyshipper export latest --format cast > run.cast; asciinema play run.cast",
        offered=offered,
    )
    export.add_argument(
        "--format",
        choices=("cast", "cast2", "text", "jsonl"),
        default="cast",
        help="cast2: the older version of cast (%(default)s)",
    )
    for command in (logs, watch, export):
        command.add_argument(
            "session", metavar="SESSION", help="an id, its beginning, latest, or a recording"
        )
    for command in (sessions, logs, watch, export):
        _add_settings(command, DATA_SETTING)


def _add_install(commands: Commands) -> None:
    install = _add(
        commands,
        "install",
        "Put the self-contained log-shipper into a directory.",
        "ptyshipper install /mnt/log-shipper-volume",
    )
    install.add_argument("directory", metavar="DIR", help="made if it is missing")


def _add_completion(commands: Commands, offered: bool) -> None:
    completion = _add(
        commands,
        "completion",
        "Print what makes a shell complete these commands.",
        "ptyshipper completion bash > ~/.local/share/bash-completion/completions/ptyshipper",
        "ptyshipper completion zsh > ~/.zfunc/_ptyshipper",
        "ptyshipper completion fish > ~/.config/fish/completions/ptyshipper.fish",
        offered=offered,
    )
    completion.add_argument(
        "shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish"
    )
