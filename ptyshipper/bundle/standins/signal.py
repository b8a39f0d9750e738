"""In place of ``signal``: its numbers are numbers here, since ``enum`` takes 5 ms before each program
on a terminal (ptyprocess needs three of them)."""

from __future__ import annotations

from _signal import *  # type: ignore[import-not-found]  # noqa: F403
