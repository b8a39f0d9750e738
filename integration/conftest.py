"""One backend for the black-box tests that leave it running."""

from tests.backend.conftest import server

__all__ = ["server"]
