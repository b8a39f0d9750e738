"""The writer, wrapped: what it wrote, what came out, and what the backend must hold of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support import writer
from tests.support.running import Running
from tests.support.server import Server
from tests.support.stored import Stored, fresh_deployment_id, only_session
from tests.support.wrapping import LOG_SHIPPER, shipping_environ


class WrappedWriter(Running):
    """A wrapped writer, and what is known of it."""

    def __init__(
        self,
        server: Server,
        spool: Path,
        way: str,
        seed: int,
        size: int,
        *,
        url: str | None = None,
        settings: dict[str, str] | None = None,
        **options: object,
    ) -> None:
        self.deployment_id = fresh_deployment_id()
        self.seed = seed
        self.way = way
        self.side = spool.parent / f"{self.deployment_id}.side"
        environ = shipping_environ(
            server,
            spool,
            **{
                "deployment_id": str(self.deployment_id),
                "tty": "always" if way == "always" else "auto",
                "flush_timeout_s": "150",
                **({"endpoint": url} if url else {}),
                **(settings or {}),
            },
        )
        argv = writer.argv(seed, size, side=self.side, raw=True, **options)
        super().__init__([*LOG_SHIPPER, *argv], environ, terminal=way == "terminal")

    def check_bare(self, status: int, causes: Sequence[str] | None = None) -> None:
        """It ended as it would have bare, with all its output passed on, and one warning a cause:
        with these words in them, or any that the way to a backend is disturbed."""
        assert self.wait(200) == status, self.warnings
        written = writer.written(self.side, self.seed)
        assert self.printed == {1: written[1], 2: written[2]}
        if causes is None:
            assert len(self.warnings) == len(set(self.warnings)), self.warnings
            assert all("can't ship to" in warning for warning in self.warnings), self.warnings
        else:
            assert len(self.warnings) == len(causes), self.warnings
            for cause in causes:
                assert any(cause in warning for warning in self.warnings), self.warnings

    def check_complete(self, server: Server, status: int) -> None:
        """Its one session has exited, and holds just what was written."""
        stored = only_session(server, self.deployment_id)
        assert (stored.summary["state"], stored.summary["exit_code"]) == ("exited", status)
        assert (stored.gaps, stored.summary["gaps"]) == ([], 0), stored.gaps
        written = writer.written(self.side, self.seed)
        assert by_descriptor(stored, self.way) == {1: written[1], 2: written[2]}
        assert stored.summary["bytes"] == len(written[0])


def by_descriptor(stored: Stored, way: str) -> dict[int, bytes]:
    """What is stored of descriptors 1 and 2: a terminal outside has a stream of its own."""
    first = 0 if way == "terminal" else 1
    assert stored.streams[1 - first] == b""
    return {1: stored.streams[first], 2: stored.streams[2]}
