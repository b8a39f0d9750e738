"""In place of ``random``: for the pauses before another attempt to connect."""

from __future__ import annotations

from _random import Random

random = Random().random
