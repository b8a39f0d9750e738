"""Refusals are counted each, and told now and then."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import pytest

from ptyshipper.backend.counts import Counts
from ptyshipper.backend.journal import NAME
from ptyshipper.backend.refusals import TELL_EVERY_S, Refusals

SCOPE: dict[str, Any] = {"client": ("10.0.0.1", 5), "headers": [(b"authorization", b"Bearer x")]}


@pytest.fixture
def logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger(NAME), "propagate", True)
    caplog.set_level(logging.WARNING, NAME)
    return caplog


def test_a_flood_of_wrong_tokens_is_a_line_a_minute_with_their_number(
    logged: pytest.LogCaptureFixture,
) -> None:
    """And without the token."""
    counts, now_s = Counts(), 0.0
    refusals = Refusals(counts, lambda: now_s)
    for _ in range(100):
        refusals.note("shipper", HTTPStatus.FORBIDDEN, SCOPE)
    refusals.note("shipper", HTTPStatus.UNAUTHORIZED, SCOPE)
    now_s = TELL_EVERY_S
    refusals.note("shipper", HTTPStatus.FORBIDDEN, SCOPE)
    assert counts.refusals == {("shipper", "token"): 102}
    facts = [record.ptyshipper_fields for record in logged.records]
    assert [fact["others_since"] for fact in facts] == [0, 100]
    assert facts[0] == {"cause": "token", "address": "10.0.0.1", "others_since": 0}
    assert "Bearer" not in str([vars(record) for record in logged.records])


def test_each_cause_and_peer_has_its_own(logged: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    refusals = Refusals(counts, lambda: 0.0)
    for peer, cause in [("shipper", "rate"), ("viewer", "seats"), ("viewer", HTTPStatus.NOT_FOUND)]:
        refusals.note(peer, cause)
    assert len(logged.records) == 3
    assert counts.refusals == {
        ("shipper", "rate"): 1, ("viewer", "seats"): 1, ("viewer", "404"): 1,
    }  # fmt: skip
