"""Files of variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.env_file import pair, read_env_file

HERE = {"HOME": "/home/me"}


def written(text: bytes, directory: Path) -> Path:
    path = directory / "variables"
    path.write_bytes(text)
    return path


def test_as_docker_reads_them(tmp_path: Path) -> None:
    """A value is what stands there; a name alone is what it is here, or nothing."""
    text = b'\xef\xbb\xbfA=1\r\n# no\n\n  B= x \nQ="q" # c\nHOME\nNONE\nC==\n'
    assert read_env_file(written(text, tmp_path), HERE) == {
        "A": "1", "B": " x ", "Q": '"q" # c', "HOME": "/home/me", "C": "=",
    }  # fmt: skip


def test_as_compose_reads_them(tmp_path: Path) -> None:
    text = b"export A=1\nB = x # c\nQ='a # b'\n"
    found = read_env_file(written(text, tmp_path), HERE, unquote=True)
    assert found == {"A": "1", "B": "x", "Q": "a # b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"A=1\n=secret\n", ":2: must be NAME=VALUE"),
        (b"A=secret\0\n", ":1: must be NAME=VALUE"),
        (b"A=\xffsecret\n", "it is not UTF-8"),
        (b"A=" + b"x" * 2**20, "is larger than 1 MiB"),
    ],
)
def test_what_is_refused_and_never_repeated(text: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_env_file(written(text, tmp_path), HERE)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_pair() -> None:
    assert pair("A=b=c", HERE) == ("A", "b=c")
    assert pair("HOME", HERE) == ("HOME", "/home/me")
    assert pair("NONE", HERE) is None
    for wrong in ("", "=x", "A=\0"):
        with pytest.raises(ValueError, match="must be"):
            pair(wrong, HERE)
