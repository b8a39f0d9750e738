"""The environment: as it was given, and private where others could look."""

from __future__ import annotations

import subprocess
import sys

from ptyshipper.child.environment import Environment
from tests.support.wrapping import BARE_ENVIRON


def test_the_environment_is_as_it_was_given() -> None:
    """In the C locale CPython adds LC_CTYPE to its own, which nobody gave it (PEP 538)."""
    program = (
        "from ptyshipper.child.environment import given_environment as g; e = g().variables;"
        "print(b'LC_CTYPE' in e, e[b'ODD'], e[b'TWO'])"
    )
    environ = {k: v for k, v in BARE_ENVIRON.items() if not k.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, "LC_ALL": "", "ODD": "a=b\nc", "TWO": "2"},
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == b"False b'a=b\\nc' b'2'\n"


def test_an_environment_is_any_list_of_entries() -> None:
    """The kernel does not look into them (execve(2))."""
    block = b"A=1\0A=2\0=nameless\0valueless\0B=\xff=\0\0"
    environment = Environment.from_block(block)
    assert environment.entries == [b"A=1", b"A=2", b"=nameless", b"valueless", b"B=\xff=", b""]
    assert environment.variables == {b"A": b"1", b"B": b"\xff="}
    assert not environment.is_plain
    assert environment.block == block


def test_without_a_prefix_the_rest_stays_in_order() -> None:
    environment = Environment([b"_P_X=1", b"Z=1", b"_P", b"A=_P"]).without(b"_P")
    assert environment.entries == [b"Z=1", b"A=_P"]
    assert environment.is_plain


def test_private_values_are_blanked_and_nothing_else() -> None:
    program = (
        "from ptyshipper.child.environment import conceal\n"
        "before = open('/proc/self/environ', 'rb').read()\n"
        "print(conceal(b'_PRIVATE'), b'secret' in before)\n"
        "after = open('/proc/self/environ', 'rb').read()\n"
        "print(before.replace(b'secret', b'******') == after, len(before) == len(after))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**BARE_ENVIRON, "_PRIVATE_A": "secret", "Z": "z", "_PRIVATE_EMPTY": ""},
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == b"True True\nTrue True\n"
