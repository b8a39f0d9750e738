"""In place of ``dataclasses``: a class's fields as the arguments of its construction, and compared.

The library's writes source code for that and has it compiled, and loads ``copy`` and ``weakref``. Fields
with options of their own, representations and frozen instances, which nobody here relies on, are left out.
"""

from __future__ import annotations

from collections.abc import Callable


def dataclass(
    cls: type | None = None, /, *, init: bool = True, frozen: bool = False
) -> type | Callable[[type], type]:
    def complete(cls: type) -> type:
        fields = tuple(_fields(cls))

        def construct(self: object, *values: object, **named: object) -> None:
            if len(values) > len(fields):
                raise TypeError(f"{cls.__name__} has {len(fields)} fields, not {len(values)}")
            given = dict(zip(fields, values, strict=False))
            if twice_or_unknown := (named.keys() & given) | (named.keys() - set(fields)):
                raise TypeError(f"{cls.__name__} was given {sorted(twice_or_unknown)}")
            given |= named
            for field in fields:
                if field not in given and not hasattr(cls, field):
                    raise TypeError(f"{cls.__name__} was not given {field!r}")
                setattr(self, field, given[field] if field in given else getattr(cls, field))

        def equals(self: object, other: object) -> bool:
            same_class = other.__class__ is self.__class__
            return same_class and all(getattr(self, f) == getattr(other, f) for f in fields)

        if init:
            cls.__init__ = construct  # type: ignore[misc] # that is what it is for
        cls.__eq__ = equals  # type: ignore[assignment, method-assign] # as above
        cls.__hash__ = None  # type: ignore[assignment] # what is equal by value and may change has none
        return cls

    return complete if cls is None else complete(cls)


def _fields(cls: type) -> dict[str, None]:
    """Those of its bases first, in the order in which they were written."""
    return {
        field: None
        for base in reversed(cls.__mro__)
        for field in base.__dict__.get("__annotations__", ())  # noqa: RUF063 # it would load inspect
    }


def asdict(instance: object) -> dict[str, object]:
    """One level of it."""
    return {field: getattr(instance, field) for field in _fields(instance.__class__)}
