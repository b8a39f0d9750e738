"""Bearer tokens: none is 401, a wrong one 403, and an empty one lets nobody in."""

from __future__ import annotations

import asyncio

import pytest

from ptyshipper.backend.access import Access, Grant, View
from ptyshipper.backend.tokens import Tokens

SECRET = "s3cret-s3cret-s3cret"


def ask(headers: list[tuple[bytes, bytes]], token: str = SECRET) -> set[int]:
    """The statuses that a shipper and a reader with these headers get; 200 for being let in."""
    scope = {"type": "http", "headers": headers}

    async def both() -> set[int]:
        to_ship = await Access(Tokens(token, "other" * 5)).shipper(scope)
        to_read = await Access(Tokens("other" * 5, token)).reader(scope)
        return {
            200 if to_ship == Grant(None, None) else int(to_ship),  # type: ignore[arg-type]
            200 if to_read == View(None) else int(to_read),  # type: ignore[arg-type]
        }

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Bearer s3cret-s3cret-s3cret", 200),
        (b"bearer  s3cret-s3cret-s3cret ", 200),
        (b"Bearer s3cret-s3cret-s3creT", 403),
        (b"Bearer s3cret", 403),
        (b"Bearer otherotherotherotherothe", 403),
        (b"Bearer \xff\x00", 403),
        (b"Bearer ", 401),
        (b"Bearer", 401),
        (b"", 401),
        (b"Basic s3cret-s3cret-s3cret", 401),
        (b"s3cret-s3cret-s3cret", 401),
    ],
)
def test_authorization(value: bytes, expected: int) -> None:
    assert ask([(b"host", b"x"), (b"authorization", value)]) == {expected}


def test_missing_or_repeated_header_is_unauthorized() -> None:
    """Two headers are two answers to one question."""
    right = (b"authorization", b"Bearer " + SECRET.encode())
    assert ask([]) == {401}
    assert ask([right, right]) == {401}


def test_empty_token_of_the_backend_lets_nobody_in() -> None:
    assert ask([(b"authorization", b"Bearer x")], "") == {403}
