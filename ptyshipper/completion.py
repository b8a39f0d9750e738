"""What a shell needs to complete our words, made of the parser that reads them. Pure.

Each shell gets a script that is whole: completing starts no process of ours, which would take longer than
people wait for a word.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ptyshipper.command_line import make_parser, subcommands
from ptyshipper.config import SETTINGS
from ptyshipper.serve_config import SERVE_SETTINGS
from ptyshipper.settings import one_of

PROGRAM = "ptyshipper"
SESSION_WORDS = ("latest",)

_KINDS = {"FILE": "files", "DIR": "directories", "SESSION": "sessions"}
"""What an argument is completed to, by the word that stands for it in the help."""

_SETTINGS_CHOICES: dict[str, tuple[str, ...]] = {
    setting.flag: setting.parse.choices
    for setting in SETTINGS + SERVE_SETTINGS
    if isinstance(setting.parse, one_of)
}
"""Of flags whose values a table reads, since argparse leaves them alone."""


class Option(NamedTuple):
    """An option: ``words`` are its spellings. ``choices`` or ``kind`` say what its value is, where it has
    one (``has_value``): ``files``, ``directories``, ``sessions``, or '' for anything."""

    words: tuple[str, ...]
    help: str
    has_value: bool
    value: str
    choices: tuple[str, ...]
    kind: str


class Command(NamedTuple):
    """A command by the words that lead to it; () is the program itself.

    ``takes`` says what it is completed to where no option is: ``commands`` of ``inner``, a ``program`` with
    words of its own, or as an option's value is.
    """

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    inner: tuple[tuple[str, str], ...]
    takes: str
    choices: tuple[str, ...]


def commands() -> list[Command]:
    """Every command that is offered, outer ones first."""
    return list(_walk((), make_parser()))


def script(shell: str) -> str:
    """A shell's script; one of ``SHELLS``."""
    return SHELLS[shell](commands())


def _walk(path: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Command]:
    inner = subcommands(parser)
    helps: dict[str, str] = {}
    options: list[Option] = []
    takes = "program" if path == ("run",) else ""
    choices: tuple[str, ...] = ()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            takes = "commands"
        elif action.option_strings:
            options.append(_option(action))
        elif not takes:
            takes = _KINDS.get(str(action.metavar), "")
            choices = tuple(map(str, action.choices or ()))
    listed = tuple((name, helps[name]) for name in inner if name in helps)
    yield Command(path, parser.description or "", tuple(options), listed, takes, choices)
    for name, _ in listed:
        yield from _walk((*path, name), inner[name])


def _option(action: argparse.Action) -> Option:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(
        map(str, action.choices or _SETTINGS_CHOICES.get(action.option_strings[-1], ()))
    )
    said = (action.help or "").replace("%(default)s", str(action.default))
    kind = _KINDS.get(value, "")
    return Option(tuple(action.option_strings), said, action.nargs != 0, value, choices, kind)


def _bash(found: list[Command]) -> str:
    steps = "|".join(_quoted(" ".join(one.path)) for one in found if one.path)
    values, options, others, valued = [], [], [], []
    for one in found:
        name = " ".join(one.path)
        for option in one.options:
            if option.has_value:
                pattern = "|".join(_quoted(f"{name}:{word}") for word in option.words)
                valued.append(pattern)
                values.append(
                    f"        {pattern}) {_bash_of(option.kind, option.choices)}; return ;;"
                )
        words = " ".join(word for option in one.options for word in option.words)
        options.append(f"        {_quoted(name)}) options={_quoted(words)} ;;")
        names = tuple(word for word, _ in one.inner) or one.choices
        others.append(f"        {_quoted(name)}) {_bash_of(one.takes, names)} ;;")
    return _BASH.format(
        steps=steps,
        valued="|".join(valued),
        values="\n".join(values),
        options="\n".join(options),
        others="\n".join(others),
    )


def _bash_of(kind: str, choices: tuple[str, ...]) -> str:
    if choices:
        return f"_ptyshipper_words {_quoted(' '.join(choices))}"
    if kind == "files":
        return "_ptyshipper_files -f"
    if kind == "directories":
        return "_ptyshipper_files -d"
    if kind == "sessions":
        return f"_ptyshipper_files -f -W {_quoted(' '.join(SESSION_WORDS))}"
    return ":"


_BASH = """\
# bash completion of ptyshipper; made by: ptyshipper completion bash
_ptyshipper_words() {{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
}}

_ptyshipper_files() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}}

_ptyshipper() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local path= options= at word is_value=
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${{COMP_WORDS[at]}}
        if [[ -n $is_value || $word == = ]]; then
            [[ $word == = || ${{COMP_WORDS[at + 1]}} == = ]] || is_value=
            continue
        fi
        case "$path:$word" in
        {valued}) is_value=yes; continue ;;
        esac
        [[ $path == run && ( $word == -- || $word != -* ) ]] && break
        case "${{path:+$path }}$word" in
        {steps}) path="${{path:+$path }}$word" ;;
        esac
    done
    if [[ $path == run && -z $is_value && ( $at -lt $COMP_CWORD || $current != -* ) ]]; then
        [[ ${{COMP_WORDS[at]}} == -- && $at -lt $COMP_CWORD ]] && ((at++))
        if [[ $at -lt $COMP_CWORD ]]; then
            _ptyshipper_files -f
        else
            _ptyshipper_files -c
        fi
        return
    fi
    if [[ $current == = ]]; then
        current=
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case "$path:$before" in
{values}
    esac
    if [[ $current == -* ]]; then
        case $path in
{options}
        esac
        _ptyshipper_words "$options"
        return
    fi
    case $path in
{others}
    esac
}}
complete -F _ptyshipper ptyshipper
"""


def _zsh(found: list[Command]) -> str:
    functions = []
    for one in found:
        words = ["_arguments -s -S", *map(_zsh_option, one.options)]
        if one.inner:
            words = [
                words[0] + " -C",
                *words[1:],
                "'1:command:->command'",
                "'*::argument:->argument'",
            ]
        elif one.takes == "program":
            words += ["'(-):command:_command_names -e'", "'*::argument:_normal'"]
        else:
            words.append(f"'*:{one.takes or 'argument'}:{_zsh_of(one.takes, one.choices)}'")
        body = ["    " + " \\\n        ".join(words)]
        if one.inner:
            named = "\n".join(
                f"            {_quoted(f'{name}:{said}')}" for name, said in one.inner
            )
            inner = "\n".join(
                f"            {name}) {_function((*one.path, name))} ;;" for name, _ in one.inner
            )
            body = [
                "    local state line context curcontext=$curcontext",
                "    typeset -A opt_args",
                *body,
            ]
            body.append(_ZSH_INNER.format(named=named, inner=inner))
        functions.append("\n".join([f"{_function(one.path)}() {{", *body, "}"]))
    return "\n\n".join([_ZSH_HEAD, *functions, _ZSH_TAIL])


_ZSH_HEAD = """\
#compdef ptyshipper
# zsh completion of ptyshipper; made by: ptyshipper completion zsh"""

_ZSH_INNER = """\
    case $state in
    command)
        local -a commands=(
{named}
        )
        _describe -t commands command commands
        ;;
    argument)
        case $line[1] in
{inner}
        esac
        ;;
    esac"""

_ZSH_TAIL = """\
if [[ $funcstack[1] == _ptyshipper ]]; then
    _ptyshipper "$@"
else
    compdef _ptyshipper ptyshipper
fi
"""


def _function(path: tuple[str, ...]) -> str:
    return "_".join(("_ptyshipper", *path))


def _zsh_option(option: Option) -> str:
    said = "".join(f"\\{char}" if char in "[]:\\" else char for char in option.help)
    value = f":{option.value}:{_zsh_of(option.kind, option.choices)}" if option.has_value else ""
    forms = []
    for word in option.words:
        equals = "=" if option.has_value and word.startswith("--") else ""
        forms.append(_quoted(f"*{word}{equals}[{said}]{value}"))
    return " ".join(forms)


def _zsh_of(kind: str, choices: tuple[str, ...]) -> str:
    if choices:
        return f"({' '.join(choices)})"
    return {
        "files": "_files",
        "directories": "_files -/",
        "sessions": f'_alternative "sessions:session:({" ".join(SESSION_WORDS)})" "files:recording:_files"',
    }.get(kind, " ")


def _fish(found: list[Command]) -> str:
    paths = " ".join(_quoted(" ".join(one.path)) for one in found if one.path)
    lines = [
        "# fish completion of ptyshipper; made by: ptyshipper completion fish",
        f"set -g __ptyshipper_paths {paths}",
        _FISH_HEAD,
    ]
    for one in found:
        at = f"-n '__ptyshipper_at {' '.join(one.path)}'"
        given = [f"-a {name} -d {_quoted(said)}" for name, said in one.inner]
        given += map(_fish_option, one.options)
        if one.takes == "program":
            given.append("-F -a '(__ptyshipper_program)'")
        elif not one.inner:
            given += _fish_of(one.takes, one.choices)
        lines.extend(f"complete -c {PROGRAM} {at} {each}" for each in given)
    return "\n".join(lines) + "\n"


_FISH_HEAD = """\
complete -c ptyshipper -f
function __ptyshipper_at -d 'whether the command so far is this one'
    set -l words (commandline -opc)
    set -l path
    for word in $words[2..]
        string match -q -- '-*' $word; and continue
        set -l next $path $word
        if contains -- "$next" $__ptyshipper_paths
            set path $next
        end
    end
    test "$path" = "$argv"
end
function __ptyshipper_program -d 'the program that run wraps'
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words); and set words $words[(math $at + 1)..]
    or set words $words[3..]
    while string match -q -- '-*' $words[1]
        set words $words[2..]
    end
    complete -C "$words"
end"""


def _fish_option(option: Option) -> str:
    words = [
        f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in option.words
    ]
    if option.has_value:
        words += ["-r", *_fish_of(option.kind, option.choices)]
    return " ".join([*words, "-d", _quoted(option.help)])


def _fish_of(kind: str, choices: tuple[str, ...]) -> list[str]:
    if choices:
        return [f"-f -a {_quoted(' '.join(choices))}"]
    return {
        "files": ["-F"],
        "directories": ["-f -a '(__fish_complete_directories)'"],
        "sessions": [f"-F -a {_quoted(' '.join(SESSION_WORDS))}"],
    }.get(kind, [])


def _quoted(text: str) -> str:
    """A word of any of the three shells."""
    return shlex.quote(text)


SHELLS: dict[str, Callable[[list[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
