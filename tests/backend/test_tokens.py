"""Tokens are made once, kept, and readable by their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptyshipper.backend import tokens
from ptyshipper.errors import BackendError


def test_tokens_outlive_the_backend(tmp_path: Path) -> None:
    """The second backend has those of the first; two are never the same."""
    first = tokens.read_or_make(tmp_path)
    assert tokens.read_or_make(tmp_path) == first
    assert first.ingest != first.view
    assert min(len(first.ingest), len(first.view)) >= 32


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        tokens.read_or_make(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"ingest": "", "view": ""}',
        '{"ingest": 5, "view": 6}',
        '{"ingest": "a b", "view": "c"}',
    ],
)
def test_damaged_file_is_told_and_not_replaced(tmp_path: Path, text: str) -> None:
    """New tokens would lock out every shipper that is running."""
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(BackendError, match=r"tokens\.json"):
        tokens.read_or_make(tmp_path)
    assert (tmp_path / "tokens.json").read_text() == text
