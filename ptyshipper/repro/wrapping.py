"""What AnvilOps puts around a container's command, taken off again (design: the contract)."""

from __future__ import annotations

from collections.abc import Sequence

from ptyshipper.variables import PRIVATE_PREFIX

WRAPPER = "log-shipper"
MOUNT = "/_private_anvilops_log_shipper"
"""Where AnvilOps mounts the volume that the wrapper is installed in."""


def is_wrapper(word: str) -> bool:
    return word.rpartition("/")[2] == WRAPPER


def unwrapped(command: Sequence[str] | None, args: Sequence[str] | None) -> tuple[str, ...] | None:
    """The program's own command, where log-shipper stands before it; else None."""
    if not command or not is_wrapper(command[0]):
        return None
    return (*command[1:], *(args or ()))


def is_private(variable: str) -> bool:
    return variable.startswith(PRIVATE_PREFIX)
