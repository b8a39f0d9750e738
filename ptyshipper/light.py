"""What the modules loaded before the program starts use in place of ``typing`` and ``signal``.

Those two take 10 ms between them (with ``enum``, ``re``, ``functools`` and ``collections``, which they
bring along), and the program waits for each. So what ``log-shipper`` loads before the fork imports
neither, nor any of these: ``tests/test_light.py`` holds it to that.
"""

from __future__ import annotations

TYPE_CHECKING = False
"""True to a type checker, by its name (PEP 484)."""

if TYPE_CHECKING:
    import signal as signal
else:
    # The C module below ``signal``, which adds nothing but enums to it: numbers are numbers here.
    import _signal as signal

__all__ = ["TYPE_CHECKING", "Fields", "signal"]


class Fields:
    """Equality and repr by ``__slots__``: a named tuple without the tuple."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({values})"
