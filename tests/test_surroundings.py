"""What a recording tells of its program's start, and what it must not."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.surroundings import MAX_BYTES, surroundings

WORDS = st.binary(min_size=1, max_size=300).filter(lambda word: b"\0" not in word)


def test_a_secret_is_a_name_without_its_value() -> None:
    environ = {b"PATH": b"/bin", b"LC_ALL": b"C", b"DATABASE_URL": b"SECRET", b"MY_TERM": b"SECRET"}
    about = surroundings(
        [b"sh", b"-c", b"\xff"], environ, "always", ["terminal", "other", "stdout"]
    )
    assert about["env"] == {"PATH": "/bin", "LC_ALL": "C"}
    assert about["withheld"] == ["DATABASE_URL", "MY_TERM"]
    assert "SECRET" not in json.dumps(about)
    assert (about["argv"], about["tty"]) == (["sh", "-c", "\udcff"], "always")
    mask = os.umask(0)
    os.umask(mask)
    assert (about["cwd"], about["umask"], about["uid"]) == (os.getcwd(), mask, os.geteuid())


@given(st.lists(WORDS, max_size=20), st.dictionaries(WORDS, WORDS, max_size=20), st.booleans())
def test_it_fits_whatever_the_program_was_given(
    argv: list[bytes], environ: dict[bytes, bytes], is_huge: bool
) -> None:
    huge = [b"\xff" * 200_000] if is_huge else []
    about = surroundings([*argv, *huge], environ, "auto", ["other"] * 3)
    assert len(json.dumps(about)) <= MAX_BYTES
    assert ("argv" in about) is not is_huge
