"""As many viewers as there are seats, of all kinds together."""

from __future__ import annotations

import pytest

from ptyshipper.backend.seats import Seats


def test_seats_are_taken_and_given_back_whatever_happens() -> None:
    seats = Seats(2)
    with seats.seat("records") as first, seats.seat("live") as second:
        assert (first, second) == (True, True)
        assert seats.taken == {"records": 1, "live": 1}
        with seats.seat("records") as third:
            assert not third
        assert seats.taken.total() == 2, "who found none gives none back"
    with pytest.raises(KeyError), seats.seat("live"):
        raise KeyError
    assert seats.taken.total() == 0


def test_without_a_limit_there_is_always_one() -> None:
    seats = Seats()
    for _ in range(3):
        with seats.seat("records") as has_seat:
            assert has_seat
    assert not seats.is_full
