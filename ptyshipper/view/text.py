"""What a program printed, as text that can be shown. Pure."""

from __future__ import annotations

import re

RESET = "\x1b[0m"
DIM = "\x1b[2m"

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, and moves that mean nothing within a line
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links, the clipboard
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


def last_rewrite(content: bytes) -> bytes:
    """A terminal's line as it looked in the end: a progress bar returns to its start many times."""
    content = content.rstrip(b"\r")
    return content[content.rfind(b"\r") + 1 :]


def decoded(content: bytes) -> str:
    """Text, with U+FFFD for what is no UTF-8."""
    return content.decode("utf-8", "replace")


def visible(text: str, *, colours: bool) -> str:
    """Safe on a terminal, and one line long if ``text`` is.

    Colours stay in force until the end of the text where ``colours`` says so. Whole sequences that
    move the cursor or set a title are left out; any other control character but tab is shown, as
    ``^[`` or ``<9b>``.
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
