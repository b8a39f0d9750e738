"""The one line that ``run`` and ``repro`` say at the end, to a person: where the session is now. Pure."""

from __future__ import annotations

import shlex

ID_DIGITS = 12


def closing_line(session_id: bytes | None, delivered: bool, recording: str | None) -> str:
    """Empty where the session was neither shipped nor recorded.

    Args:
        session_id: None where there was no backend.
        recording: the file that has all of it, as a shell would take it for a file and no id.
    """
    parts = []
    name = ""
    if session_id is not None:
        name = session_id.hex()[:ID_DIGITS]
        parts.append(f"session {name}")
    if recording is not None:
        path = recording if "/" in recording else f"./{recording}"
        parts.append(f"recorded in {shlex.quote(path)}")
        if session_id is None or not delivered:
            name = shlex.quote(path)
    if not parts:
        return ""
    if session_id is not None and not delivered:
        parts.append("not all of it delivered yet; the next run here sends the rest")
        if recording is None:
            return "; ".join(parts)
    return (
        f"{'; '.join(parts)}; next: ptyshipper logs {name}, ptyshipper export {name}"
        f" or ptyshipper repro --session {name}"
    )
