"""What AnvilOps puts in front of a command."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ptyshipper.repro.wrapping import is_private, unwrapped


@pytest.mark.parametrize(
    ("command", "args", "own"),
    [
        (["/_private_anvilops_log_shipper/log-shipper"], ["a", "b"], ("a", "b")),
        (["log-shipper", "a"], None, ("a",)),
        (["/x/log-shipper"], None, ()),
        (["a"], ["/x/log-shipper"], None),
        (None, ["a"], None),
        ([], None, None),
    ],
)
def test_is_taken_off(
    command: Sequence[str] | None, args: Sequence[str] | None, own: tuple[str, ...] | None
) -> None:
    assert unwrapped(command, args) == own


def test_the_platforms_own_variables() -> None:
    assert is_private("_PRIVATE_ANVILOPS_LOG_TOKEN")
    assert not is_private("ANVILOPS")
