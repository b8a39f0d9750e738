"""``ptyshipper repro``: from the words of the command line to the program's exit status."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ptyshipper.config import AgentSettings
from ptyshipper.errors import UsageError


def repro(args: argparse.Namespace, load: Callable[[Callable[[str], None]], AgentSettings]) -> int:
    """Run what the file describes; the program's exit status.

    Raises:
        UsageError: the file or an option is wrong.
    """
    if args.file is None:
        raise UsageError("repro: give a FILE or --session; see: ptyshipper repro --help")
    raise UsageError("repro: under construction")
