"""``${VAR}`` in a compose file, as the compose specification has it (interpolation.md).

``$VAR``, ``${VAR}``, ``${VAR:-default}``, ``${VAR-default}``, ``${VAR:?why}``, ``${VAR?why}``,
``${VAR:+other}``, ``${VAR+other}``; ``$$`` is one ``$``; defaults may hold others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_START = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(:?[-?+])?)")
_MAX_DEPTH = 8


def interpolate(text: str, variables: Mapping[str, str], unset: set[str]) -> str:
    """The text with values in place of variables; the names of those without one go to ``unset``.

    Raises:
        ValueError: it can't be read, or a variable is missing that must be there.
    """
    result, at = _until(text, 0, variables, unset, depth=0)
    assert at == len(text)
    return result


def _until(
    text: str, at: int, variables: Mapping[str, str], unset: set[str], depth: int
) -> tuple[str, int]:
    """What stands before the brace that closes this level, and where that is."""
    if depth > _MAX_DEPTH:
        raise ValueError("has variables nested too deep")
    parts: list[str] = []
    while at < len(text):
        if depth and text[at] == "}":
            return "".join(parts), at
        if text[at] != "$":
            parts.append(text[at])
            at += 1
            continue
        match = _START.match(text, at)
        if match is None:
            raise ValueError("has a $ that begins no variable; write $$ for one $")
        at = match.end()
        plain, braced, operator = match.groups()
        name = plain or braced
        if name is None:
            parts.append("$")
            continue
        word = ""
        if braced:
            if operator:
                word, at = _until(
                    text,
                    at,
                    variables,
                    unset if _is_used(operator, name, variables) else set(),
                    depth + 1,
                )
            if text[at : at + 1] != "}":
                raise ValueError(f"has no }} behind ${{{name}")
            at += 1
        parts.append(_value(name, operator or "", word, variables, unset))
    if depth:
        raise ValueError("has a ${ without its }")
    return "".join(parts), at


def _is_set(operator: str, name: str, variables: Mapping[str, str]) -> bool:
    return bool(variables.get(name)) if operator.startswith(":") else name in variables


def _is_used(operator: str, name: str, variables: Mapping[str, str]) -> bool:
    return _is_set(operator, name, variables) == operator.endswith("+")


def _value(
    name: str, operator: str, word: str, variables: Mapping[str, str], unset: set[str]
) -> str:
    is_set = _is_set(operator, name, variables)
    match operator[-1:]:
        case "-":
            return variables[name] if is_set else word
        case "+":
            return word if is_set else ""
        case "?" if not is_set:
            raise ValueError(f"needs {name}; give it by --env" + (f" ({word})" if word else ""))
    if not is_set:
        unset.add(name)
    return variables.get(name, "")
