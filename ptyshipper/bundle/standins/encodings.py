"""In place of ``encodings``: the character sets that are named here, without 300 names of others.

The interpreter loads it before anything else, and asks it for one.
"""

from __future__ import annotations

import codecs
import sys

MODULES = {
    "ascii": "ascii",
    "iso_8859_1": "latin_1",
    "latin_1": "latin_1",
    "us_ascii": "ascii",
    "utf_16": "utf_16",
    "utf_8": "utf_8",
    "utf8": "utf_8",
}
"""By the names that are used: the modules below this one, all of the standard library."""


def search_function(encoding: str) -> codecs.CodecInfo | None:
    """A codec by its name, which the registry has put into lower case (codecs.register)."""
    name = MODULES.get(encoding.replace("-", "_"))
    if name is None:
        return None
    module = f"{__name__}.{name}"
    __import__(module)
    found: codecs.CodecInfo = sys.modules[module].getregentry()
    return found


codecs.register(search_function)
