"""A container's environment: what the runtime sets, and what was said of the container."""

from __future__ import annotations

from collections.abc import Mapping

from ptyshipper.repro.container import Container
from ptyshipper.repro.wrapping import is_private

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where an image names none (containerd's and Docker's)."""

DEFAULT_TERM = "xterm"


def environment(
    container: Container, here: Mapping[str, str] | None, *, is_root: bool
) -> dict[str, str]:
    """The variables of the program, in the runtimes' order.

    HOME is the user's in the image's /etc/passwd; where there is none, root's is /root and all others' /.

    Args:
        here: the environment to begin with; None for a clean one.
    """
    of_runtime = {"PATH": DEFAULT_PATH, "HOSTNAME": container.hostname or container.name}
    if container.tty:
        of_runtime["TERM"] = DEFAULT_TERM
    if here is not None:
        of_runtime = {
            name: value for name, value in of_runtime.items() if name != "PATH" or name not in here
        }
    ours = {name: value for name, value in (here or {}).items() if not is_private(name)}
    values = {**ours, **of_runtime, **dict(container.env)}
    if not values.get("HOME"):
        values["HOME"] = "/root" if is_root else "/"
    return values
