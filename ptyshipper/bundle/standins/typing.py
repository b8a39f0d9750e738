"""In place of ``typing``: annotations are read by people and by mypy, and by nothing in the bundle.

What is only ever written in annotations is nothing here, and what runs does as the library's. A name
that is missing makes an import fail; ``tests/bundle/standins`` imports all that the bundle may import.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence

__all__ = ["Callable", "Iterable", "Sequence"]

TYPE_CHECKING = False

Dict = dict
List = list
Set = set
Tuple = tuple  # type: ignore[type-arg] # the class itself is meant
Type = type


class _Anything:
    """Whatever is in its brackets or beside its bar; as a base of a class it leaves no trace."""

    def __getitem__(self, parameters: object) -> _Anything:
        return self

    def __or__(self, other: object) -> _Anything:
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: object) -> tuple[()]:
        return ()


AnyStr = Any = Literal = NoReturn = Optional = Pattern = Protocol = Self = Union = _Anything()


class Generic:
    """A class that is one of these is the same with any parameters."""

    def __class_getitem__(cls, parameters: object) -> type:
        return cls


def TypeVar(name: str, *constraints: object, **options: object) -> _Anything:
    return Any


def NewType(name: str, of: type) -> type:
    return of


def cast(to: object, value: object) -> object:
    return value


def overload(function: object) -> object:
    return function


def assert_never(value: object) -> None:
    raise AssertionError(f"expected code to be unreachable, but got: {value!r}")


class _NamedTupleMeta(type):
    """Makes what derives from ``NamedTuple`` a named tuple of the fields that it annotates."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, object]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        fields: dict[str, object] = namespace.get("__annotations__", {})  # type: ignore[assignment]
        defaults = [namespace.pop(field) for field in fields if field in namespace]
        made = namedtuple(name, list(fields), defaults=defaults)  # type: ignore[misc]
        for key, value in namespace.items():
            setattr(made, key, value)
        return made


class NamedTuple(metaclass=_NamedTupleMeta):
    """The base of such classes, and of no instance."""
