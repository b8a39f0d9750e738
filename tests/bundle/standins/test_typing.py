"""The bundle's ``typing``: what runs of it does as the library's."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from ptyshipper.bundle.standins import typing as standin

BOTH = pytest.mark.parametrize("module", [typing, standin], ids=["library", "bundle"])


@BOTH
def test_a_named_tuple(module: Any) -> None:
    class Place(module.NamedTuple):  # type: ignore[misc] # mypy knows the library's alone
        row: int
        column: int = 1

        @property
        def far(self) -> bool:
            return self.row + self.column > 100

        def below(self) -> Place:
            return self._replace(row=self.row + 1)  # type: ignore[no-any-return] # as above

    assert Place.__name__ == "Place"
    assert Place.__module__ == __name__
    assert Place._fields == ("row", "column")
    place = Place(2)
    assert place == (2, 1) == Place(row=2, column=1)
    assert repr(place) == "Place(row=2, column=1)"
    assert place.below() == (3, 1)
    assert isinstance(place.below(), Place)
    assert not place.far
    assert Place(100).far
    with pytest.raises(TypeError):
        Place()


@BOTH
def test_a_named_tuple_of_nothing(module: Any) -> None:
    class Nothing(module.NamedTuple):  # type: ignore[misc] # as above
        pass

    assert Nothing() == ()


@BOTH
def test_what_is_written_between_brackets_and_beside_bars(module: Any) -> None:
    """Types that are given names are made when a module is loaded."""

    class Readable(module.Protocol):  # type: ignore[misc] # as above
        def read(self) -> bytes: ...

    class Headers(module.Sequence[module.Tuple[bytes, bytes]]):  # type: ignore[misc] # as above
        def __getitem__(self, index: int) -> tuple[bytes, bytes]:
            return [(b"name", b"value")][index]

        def __len__(self) -> int:
            return 1

    assert module.Optional[Readable] is not None
    assert module.Union[module.Dict[str, module.Any], module.List[Readable]] is not None
    assert module.Callable[[module.Any], module.Type[Readable]] is not None
    assert module.Union[int, str] | None is not None
    assert (b"name", b"value") in Headers()


@BOTH
def test_what_is_given_back(module: Any) -> None:
    name = module.NewType("Name", str)
    assert name("somebody") == "somebody"
    assert module.cast(int, "not one") == "not one"
    with pytest.raises(AssertionError, match="'never'"):
        module.assert_never("never")
