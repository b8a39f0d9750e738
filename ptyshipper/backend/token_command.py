"""``ptyshipper token``: makes, lists and revokes tokens, in the store itself.

No backend has to run. One that does knows of a change within seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

from ptyshipper import statefile
from ptyshipper.backend import directory
from ptyshipper.backend.credentials import Kind, is_good, issue
from ptyshipper.backend.register import make_link
from ptyshipper.backend.session import rfc3339
from ptyshipper.backend.store.base import Store, Token
from ptyshipper.backend.stores import open_for_tokens
from ptyshipper.errors import BackendError, UsageError

_HEADINGS = ("NUMBER", "KIND", "DEPLOYMENT", "APP", "CREATED", "EXPIRES", "STATE", "NAME")

T = TypeVar("T")


class Place(NamedTuple):
    """Where the tokens are."""

    data_dir: Path
    store_url: str | None


def create(
    place: Place,
    *,
    deployment_id: int | None,
    app_id: int | None,
    name: str,
    good_for_s: int | None,
    out: TextIO,
    tell: Callable[[str], None],
) -> None:
    """Print a new secret, the one time that it can be read.

    Args:
        deployment_id: shippers of this deployment may use it; None: readers may.
        good_for_s: None: for ever.
        tell: gets a line on what was made.
    """
    kind: Kind = "view" if deployment_id is None else "ingest"
    secret, token = issue(
        kind,
        _wall_us(),
        name=name,
        deployment_id=deployment_id,
        app_id=app_id,
        good_for_us=None if good_for_s is None else good_for_s * 1_000_000,
    )
    number = _ask(place, lambda store: store.add_token(token))
    print(secret, file=out, flush=True)
    tell(
        f"{kind} token {number}; it is kept as a hash only, so this is the one time that it is shown"
    )


def show(place: Place, *, as_json: bool, out: TextIO) -> None:
    """List all tokens: all but their secrets."""
    tokens, now_us = _ask(place, lambda store: store.tokens()), _wall_us()
    if as_json:
        out.writelines(json.dumps(_fields(token, now_us)) + "\n" for token in tokens)
        return
    rows: list[Sequence[str]] = [_HEADINGS, *(_row(token, now_us) for token in tokens)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write("  ".join(cells).rstrip() + "\n")


def revoke(place: Place, number: int, tell: Callable[[str], None]) -> None:
    """Accept a token no more.

    Raises:
        UsageError: there is none with this number that was not revoked.
    """
    if not _ask(place, lambda store: store.revoke_token(number, _wall_us())):
        raise UsageError(
            f"there is no token {number} that is not revoked; 'ptyshipper token list' lists them"
        )
    tell(f"token {number} is revoked; what it opened is closed within seconds")


def link(place: Place, *, app_id: int | None, public_url: str | None, out: TextIO) -> None:
    """Print an address at which a browser logs in, once.

    Raises:
        BackendError: it is not known where the backend is.
    """
    if public_url is None:
        state = statefile.read(place.data_dir)
        if state is None:
            raise BackendError(
                f"no backend runs on {place.data_dir}; start it, or say with --public-url where it is"
            )
        public_url = state.public_url or state.url
    print(_ask(place, lambda store: make_link(store, public_url, app_id)), file=out, flush=True)


def _ask(place: Place, question: Callable[[Store], Awaitable[T]]) -> T:
    async def ask() -> T:
        store = await open_for_tokens(*place)
        try:
            return await question(store)
        finally:
            await store.close()

    with directory.making_private_files():
        return asyncio.run(ask())


def _fields(token: Token, now_us: int) -> dict[str, object]:
    def at(time_us: int | None) -> str | None:
        return None if time_us is None else rfc3339(time_us)

    return {
        "number": token.number,
        "kind": token.kind,
        "name": token.name,
        "deployment_id": token.deployment_id,
        "app_id": token.app_id,
        "created_at": at(token.created_us),
        "expires_at": at(token.expires_us),
        "revoked_at": at(token.revoked_us),
        "state": _state(token, now_us),
    }


def _state(token: Token, now_us: int) -> str:
    if token.revoked_us is not None:
        return "revoked"
    return "good" if is_good(token, now_us) else "expired"


def _row(token: Token, now_us: int) -> Sequence[str]:
    def cell(value: object) -> str:
        return "-" if value is None else str(value)

    def day(time_us: int | None) -> str:
        return "never" if time_us is None else rfc3339(time_us)[:16].replace("T", " ")

    return (
        cell(token.number),
        token.kind,
        cell(token.deployment_id),
        "all" if token.app_id is None and token.kind != "ingest" else cell(token.app_id),
        day(token.created_us),
        day(token.expires_us),
        _state(token, now_us),
        # A name may come from a script; a terminal obeys no control character in it.
        "".join(char if char.isprintable() else "\ufffd" for char in token.name),
    )


def _wall_us() -> int:
    return time.time_ns() // 1000
