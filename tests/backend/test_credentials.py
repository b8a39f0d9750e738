"""Secrets are never the same, never kept, and good for as long as they were made for."""

from __future__ import annotations

import re

import pytest

from ptyshipper.backend.credentials import PREFIXES, Kind, ended_us, is_good, issue, looks_like

NOW_US = 1_700_000_000_000_000


@pytest.mark.parametrize("kind", PREFIXES)
def test_a_secret_is_recognised_by_its_prefix_and_by_no_other(kind: Kind) -> None:
    secret, token = issue(kind, NOW_US, name="n", deployment_id=7, app_id=3)
    assert re.fullmatch(rf"{PREFIXES[kind]}[\w-]{{43}}", secret)
    assert [other for other in PREFIXES if looks_like(other, secret.encode())] == [kind]
    assert (token.kind, token.name, token.deployment_id, token.app_id) == (kind, "n", 7, 3)


def test_two_secrets_differ_and_neither_is_kept() -> None:
    (first, kept), (second, other) = issue("view", NOW_US), issue("view", NOW_US)
    assert first != second
    assert kept.hash != other.hash
    assert first.encode() not in repr(kept).encode()
    assert len(kept.hash) == 32


@pytest.mark.parametrize("secret", [b"", b"psi", b"psi-" + b"x" * 43, b"psi_" + b"x" * 1000])
def test_what_no_secret_looks_like_is_not_looked_up(secret: bytes) -> None:
    assert not looks_like("ingest", secret)


def test_good_until_it_expires_or_is_revoked() -> None:
    """Whichever comes first; the moment itself is the end."""
    forever = issue("ingest", NOW_US)[1]
    assert ended_us(forever) is None
    assert is_good(forever, 1 << 62)
    short = issue("ingest", NOW_US, good_for_us=1_000)[1]
    assert is_good(short, NOW_US + 999)
    assert not is_good(short, NOW_US + 1_000)
    revoked = short._replace(revoked_us=NOW_US + 10)
    assert is_good(revoked, NOW_US + 9)
    assert not is_good(revoked, NOW_US + 10)
    assert ended_us(revoked) == NOW_US + 10
