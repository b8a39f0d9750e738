"""How the reading commands end when their output or their person goes away."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TextIO

P = ParamSpec("P")


def is_person(stream: TextIO) -> bool:
    """Whether somebody looks at this stream: it is a terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False  # closed


def wants_colours(stream: TextIO) -> bool:
    """Source: no-color.org; NO_COLOR counts when it is set and not empty."""
    return is_person(stream) and not os.environ.get("NO_COLOR")


def tell(notice: str) -> None:
    """Say something beside the output, where there is something to say."""
    if notice:
        print(f"ptyshipper: {notice}", file=sys.stderr)


def ends_quietly(command: Callable[P, int]) -> Callable[P, int]:
    """A closed pipe (``| head``) or ^C ends ``command`` without a word, with the usual status."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            status = command(*args, **kwargs)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # Or the interpreter would flush into the closed pipe once more when it exits.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            return 128 + signal.SIGINT

    return run
