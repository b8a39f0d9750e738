"""In place of ``gettext``: ``argparse`` would have its messages translated."""

from __future__ import annotations


def gettext(message: str) -> str:
    return message


def ngettext(one: str, many: str, number: int) -> str:
    return one if number == 1 else many
