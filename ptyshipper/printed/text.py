"""What a program printed, as text that can be shown. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from ptyshipper.printed.cells import RESET as RESET

DIM = "\x1b[2m"

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""What turns the direction of text, so that a line reads as something that it is not."""

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, and moves that mean nothing within a line
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links, the clipboard
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f" + _BIDI + "]"
)
_NOT_IN_JSON = re.compile(f"[\x7f-\x9f{_BIDI}]")


def decoded(content: bytes) -> str:
    """Text, with U+FFFD for what is no UTF-8."""
    return content.decode("utf-8", "replace")


def visible(text: str, *, colours: bool) -> str:
    """Safe on a terminal, and one line long if ``text`` is.

    Colours stay in force until the end of the text where ``colours`` says so. Whole sequences that
    move the cursor or set a title are left out; any other control character but tab is shown, as
    ``^[`` or ``<9b>``, and those that turn the direction of text as ``<202e>``.
    """
    coloured = False

    def show(match: re.Match[str]) -> str:
        nonlocal coloured
        control = match[0]
        if len(control) > 1:
            if not colours or not _SGR.fullmatch(control):
                return ""
            coloured = True
            return control
        code = ord(control)
        return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<{code:02x}>"

    shown = _CONTROLS.sub(show, text)
    return shown + RESET if coloured else shown


def json_text(value: Any) -> str:
    """JSON that is readable and safe to look at: no character in it is obeyed by a terminal."""
    # json leaves DEL and the C1 controls as they are. They can only stand within strings.
    return _NOT_IN_JSON.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False)
    )
