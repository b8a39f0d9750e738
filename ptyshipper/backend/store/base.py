"""What the backend asks of a store. Every method may raise StoreError and leaves nothing half done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ptyshipper.backend.session import Chunk, Session


class Write(NamedTuple):
    """A session's new state, and the records that lead there, if it was records that did."""

    session: Session
    chunk: Chunk | None


class Store(Protocol):
    """Sessions and their records, durable. All calls come from one thread."""

    def commit(self, writes: Sequence[Write]) -> None:
        """Store all of it in one transaction, durable when this returns.

        A session's ``number`` is set once it is stored. When this raises, nothing was stored, and the
        Session objects are worth nothing any more: ``load`` them again.
        """

    def load(self, session_id: bytes) -> Session | None:
        """The session as it is stored."""

    def newest(self, limit: int, prefix: str = "", before: int | None = None) -> list[Session]:
        """The sessions that came last, newest first, whose id begins with these hex digits.

        Args:
            before: only those that came before the session with this number.
        """

    def read(self, session: int, from_offset: int, max_bytes: int) -> tuple[int, int, bytes] | None:
        """Records of the session with that number, from the first at or behind ``from_offset`` on.

        Returns:
            Their offset, the offset behind them, and the records: about ``max_bytes``, more where a
            single chunk is larger. None where nothing is stored there yet.
        """

    def note_alive(self, now_us: int) -> None:
        """Remember that connected sessions were seen ``now_us``, should this process die."""

    def close(self) -> None:
        """Nothing may be asked of the store afterwards."""
