"""Whose turn it is, among threads."""

from __future__ import annotations

import threading

from ptyshipper.uplink.turn import Turn
from tests.support.fake_backend import wait_until

LONG_S = 20.0


def asking(turn: Turn, name: str, order: list[str]) -> threading.Thread:
    """A thread that asks for its turn and notes that it got it; it has asked by now."""

    def ask() -> None:
        assert turn.take(LONG_S)
        order.append(name)

    thread = threading.Thread(target=ask)
    before = len(turn._waiting)
    thread.start()
    assert wait_until(lambda: len(turn._waiting) > before)
    return thread


def test_it_is_taken_by_one_and_free_again() -> None:
    turn = Turn()
    for _ in range(2):
        assert turn.take(0)
        assert not turn.take(0)
        turn.give_back()


def test_who_came_first_is_next_and_who_had_it_is_last() -> None:
    turn = Turn()
    order: list[str] = []
    assert turn.take(0)
    threads = [asking(turn, name, order) for name in ("first", "second")]
    turn.give_back()
    assert not turn.take(0), "it is handed on, not free"
    threads[0].join(LONG_S)
    assert order == ["first"]
    turn.give_back()
    threads[1].join(LONG_S)
    assert order == ["first", "second"]
    turn.give_back()
    assert turn.take(0)


def test_who_has_waited_for_long_enough_is_not_called_any_more() -> None:
    turn = Turn()
    assert turn.take(0)
    assert not turn.take(0.001)
    turn.give_back()
    assert turn.take(0)
