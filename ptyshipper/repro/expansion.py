"""``$(VAR)`` in a command, an argument or a variable, as Kubernetes expands it.

Source: k8s.io/kubernetes third_party/forked/golang/expansion/expand.go. ``$$`` is one ``$``, so ``$$(VAR)``
is ``$(VAR)``; what is not known stays as it is, and so does a ``$`` before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        parts.append(text[at:dollar])
        after = text[dollar + 1]
        at = dollar + 2
        if after == "$":
            parts.append("$")
        elif after == "(" and (end := text.find(")", at)) >= 0:
            name = text[at:end]
            parts.append(variables.get(name, f"$({name})"))
            at = end + 1
        elif after == "(":
            parts.append("$(")
        else:
            parts.append(f"${after}")
    return "".join(parts) + text[at:]
