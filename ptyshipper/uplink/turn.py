"""One at a time, in the order in which they came: threads that must not do something at once."""

from __future__ import annotations

import _thread


class Turn:
    """``take``, then ``give_back`` from the same thread or any other.

    A plain lock goes to whoever is quickest, which is who has just released it: it may keep all others
    waiting for good. Here it is handed on.
    """

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._is_taken = False  # under the lock
        self._waiting: list[_thread.LockType] = []  # under the lock; released for who is called

    def take(self, within_s: float) -> bool:
        """Wait until it is ours; False if it is not within so long."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            called = _thread.allocate_lock()
            called.acquire()
            self._waiting.append(called)
        if called.acquire(True, within_s):
            return True
        with self._lock:
            if called in self._waiting:
                self._waiting.remove(called)
                return False
        return True  # in the last moment

    def give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.pop(0).release()
            else:
                self._is_taken = False
