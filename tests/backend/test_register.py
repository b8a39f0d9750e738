"""The register: new tokens count at once, revoked ones no more, and the store is asked seldom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from ptyshipper.backend import register as module
from ptyshipper.backend.credentials import issue
from ptyshipper.backend.register import KEPT_AFTER_END_US, Register
from ptyshipper.backend.store.base import Store
from ptyshipper.errors import StoreError
from tests.support.token_store import TokenStore

Case = Callable[[TokenStore, Register], Coroutine[Any, Any, None]]


def play(case: Case) -> TokenStore:
    """Run a case on a register of its own; the store as it is then."""
    store = TokenStore()

    async def run() -> None:
        await case(store, Register(cast(Store, store)))

    asyncio.run(run())
    return store


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered, and the store may be asked at any time."""
    monkeypatch.setattr(module, "FRESH_FOR_S", 0.0)
    monkeypatch.setattr(module, "READ_EVERY_S", 0.0)


def test_a_token_counts_as_soon_as_it_is_made() -> None:
    """Also where the tokens were read the moment before."""

    async def case(store: TokenStore, register: Register) -> None:
        assert not await register.has_good("ingest")
        secret, token = store.make("ingest")
        assert await register.find("ingest", secret.encode()) == token

    play(case)


def test_only_its_own_kind_and_only_the_whole_secret() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        secret, _ = store.make("view")
        for wrong in (secret[:-1], secret + "x", secret.replace("psv_", "psi_"), "", "psv_"):
            assert await register.find("view", wrong.encode()) is None
        assert await register.find("ingest", secret.encode()) is None

    play(case)


def test_a_secret_of_another_kind_s_prefix_does_not_count() -> None:
    """What the store says counts, not what the secret looks like."""

    async def case(store: TokenStore, register: Register) -> None:
        secret, token = store.make("view")
        store.kept[token.hash] = token._replace(kind="link")
        assert await register.find("view", secret.encode()) is None

    play(case)


@pytest.mark.usefixtures("always_fresh")
def test_expired_and_revoked_tokens_do_not_count() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        expired, _ = store.make("ingest", expires_us=1)
        revoked, token = store.make("ingest")
        assert await register.has_good("ingest")
        store.revoke(token)
        assert await register.find("ingest", expired.encode()) is None
        assert await register.find("ingest", revoked.encode()) is None
        assert not await register.has_good("ingest")

    play(case)


def test_a_flood_is_a_few_reads() -> None:
    """Of wrong tokens and of right ones: the store is not asked for each."""

    async def case(store: TokenStore, register: Register) -> None:
        right, token = store.make("ingest")
        wrong = [issue("ingest", 0)[0] for _ in range(1_000)]
        found = await asyncio.gather(
            *(register.find("ingest", secret.encode()) for secret in [*wrong, *[right] * 1_000])
        )
        assert found == [None] * 1_000 + [token] * 1_000

    assert play(case).reads <= 3


def test_what_looks_like_no_token_is_no_read() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        assert await register.find("ingest", b"guess") is None

    assert play(case).reads == 0


def test_a_store_that_fails_fails_everybody_who_asks_and_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.0)

    async def case(store: TokenStore, register: Register) -> None:
        secret, token = store.make("ingest")
        store.fails = True
        asked = [register.find("ingest", secret.encode()) for _ in range(2)]
        failed = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in failed] == [StoreError, StoreError]
        store.fails = False
        assert await register.find("ingest", secret.encode()) == token

    play(case)


def test_who_stops_waiting_stops_nobody_else() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        secret, token = store.make("ingest")
        impatient = asyncio.create_task(register.find("ingest", secret.encode()))
        patient = asyncio.create_task(register.find("ingest", secret.encode()))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == token
        with pytest.raises(asyncio.CancelledError):
            await impatient

    play(case)


@pytest.mark.usefixtures("always_fresh")
def test_a_sweep_closes_what_a_revoked_token_opened_and_nothing_else() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        closed = list[str]()
        bad, good = store.make("ingest")[1], store.make("ingest")[1]
        with (
            register.watching(bad, lambda: closed.append("first")),
            register.watching(bad, lambda: closed.append("second")),
            register.watching(good, lambda: closed.append("good")),
            register.watching(None, lambda: closed.append("local")),
        ):
            await register.sweep()
            assert closed == []
            with register.watching(bad, lambda: closed.append("left before")):
                pass
            store.revoke(bad)
            await register.sweep()
            await register.sweep()
        assert sorted(closed) == ["first", "second"]
        await register.sweep()

    play(case)


@pytest.mark.usefixtures("always_fresh")
def test_a_sweep_closes_what_an_expired_or_deleted_token_opened() -> None:
    async def case(store: TokenStore, register: Register) -> None:
        closed = list[str]()
        _, expiring = store.make("view", expires_us=time.time_ns() // 1000 + 1_000)
        _, deleted = store.make("view")
        with (
            register.watching(expiring, lambda: closed.append("expired")),
            register.watching(deleted, lambda: closed.append("deleted")),
        ):
            del store.kept[deleted.hash]
            while len(closed) < 2:
                await register.sweep()
        assert sorted(closed) == ["deleted", "expired"]

    play(case)


def test_what_ended_long_ago_is_forgotten() -> None:
    """A token that is good, or has ended just now, is not."""

    async def case(store: TokenStore, register: Register) -> None:
        now_us = time.time_ns() // 1000
        kept = [store.make("ingest")[1], store.make("browser", expires_us=now_us - 1_000_000)[1]]
        store.make("browser", expires_us=now_us - KEPT_AFTER_END_US - 1)
        store.make("ingest", revoked_us=now_us - KEPT_AFTER_END_US - 1)
        await register.sweep()
        assert list(store.kept.values()) == kept

    play(case)
