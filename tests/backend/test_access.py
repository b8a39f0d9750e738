"""Bearer tokens: none is 401, a wrong one 403, and an empty one lets nobody in."""

from __future__ import annotations

import pytest

from ptyshipper.backend.access import refusal

SECRET = "s3cret-s3cret-s3cret"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Bearer s3cret-s3cret-s3cret", None),
        (b"bearer  s3cret-s3cret-s3cret ", None),
        (b"Bearer s3cret-s3cret-s3creT", 403),
        (b"Bearer s3cret", 403),
        (b"Bearer \xff\x00", 403),
        (b"Bearer ", 401),
        (b"Bearer", 401),
        (b"", 401),
        (b"Basic s3cret-s3cret-s3cret", 401),
        (b"s3cret-s3cret-s3cret", 401),
    ],
)
def test_authorization(value: bytes, expected: int | None) -> None:
    assert refusal([(b"host", b"x"), (b"authorization", value)], SECRET) == expected


def test_missing_or_repeated_header_is_unauthorized() -> None:
    """Two headers are two answers to one question."""
    right = (b"authorization", b"Bearer " + SECRET.encode())
    assert refusal([], SECRET) == 401
    assert refusal([right, right], SECRET) == 401


def test_empty_token_of_the_backend_lets_nobody_in() -> None:
    assert refusal([(b"authorization", b"Bearer x")], "") == 403
