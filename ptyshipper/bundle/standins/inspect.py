"""In place of ``inspect``: ``dataclasses`` asks for a signature to put into a docstring, and since
Python 3.13 for a class's annotations."""

from __future__ import annotations


def signature(of: object) -> str:
    """Nothing: docstrings are stripped from the bundle anyway."""
    return ""


def get_annotations(of: type) -> dict[str, object]:
    """Its own, not its bases': as they are written, which is what ``dataclasses`` wants."""
    annotations: dict[str, object] = of.__dict__.get("__annotations__", {})  # noqa: RUF063
    return annotations
